import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import {
  BYTES,
  type BytesEntry,
  EntryWriter,
  FILES,
  type FileEntry,
  mergeByVersion,
  readBytesEntries,
  readFileEntries,
} from '../../../src/jobs/backup/entries.ts'
import { LineWriter, readLines } from '../../../src/jobs/backup/lines.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { MemoryTarget } from './memory-target.ts'

const SHA = 'a'.repeat(64)
const id = uuidV7()

function version(number: number): string {
  return `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`
}

function entry(number: number): BytesEntry {
  return { version: version(number), bucket: version(9), size: number, sha256: SHA }
}

async function* each<T>(...items: T[]): AsyncGenerator<T> {
  yield* items
}

async function gathered<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

describe('the lists of a backup', () => {
  it('are read as they were written', async () => {
    const target = new MemoryTarget()
    const bytes: BytesEntry[] = [entry(1), { ...entry(2), in: uuidV7() }, { ...entry(3), inline: true }]
    const files: FileEntry[] = [
      { path: 'rows/buckets.ndjson', size: 0, sha256: SHA },
      { path: 'rows/objects.ndjson', size: 3, sha256: SHA, in: uuidV7() },
    ]
    const bytesWriter = new EntryWriter<BytesEntry>(target, `${id}/${BYTES}`)
    for (const one of bytes) await bytesWriter.add(one)
    const filesWriter = new EntryWriter<FileEntry>(target, `${id}/${FILES}`)
    for (const one of files) await filesWriter.add(one)

    const { lines, size } = await bytesWriter.end()
    await filesWriter.end()

    expect(lines).toBe(3)
    expect(size).toBe(target.files.get(`${id}/bytes.ndjson`)?.length)
    expect(await gathered(readBytesEntries(target, id))).toEqual(bytes)
    expect(await gathered(readFileEntries(target, id))).toEqual(files)
  })

  it('are written in their order only', () => {
    const writer = new EntryWriter<BytesEntry>(new MemoryTarget(), `${id}/${BYTES}`)
    writer.add(entry(2))
    expect(() => writer.add(entry(2))).toThrow()
    expect(() => writer.add(entry(1))).toThrow()
    return writer.abort()
  })

  it.each([
    ['no JSON', '{"version":', 'is not an entry'],
    ['a hash that is none', JSON.stringify({ ...entry(3), sha256: '../x' }), 'is not an entry'],
    ['a version that was there', JSON.stringify(entry(1)), 'is not in its order'],
  ])('are refused with %s, by the line', async (_, line, reason) => {
    const target = new MemoryTarget()
    target.files.set(`${id}/${BYTES}`, Buffer.from(`${JSON.stringify(entry(2))}\n${line}\n`))
    await expect(gathered(readBytesEntries(target, id))).rejects.toMatchObject({
      fault: 'DamagedBackup',
      message: `Line 2 of ${id}/${BYTES} in memory ${reason}`,
    })
  })
})

describe('lines', () => {
  it('are the same however they are cut', async () => {
    const text = Buffer.from('ä\n\nsecond line\nlast')
    for (let cut = 1; cut < text.length; cut++) {
      const pieces = [text.subarray(0, cut), text.subarray(cut)]
      expect(await gathered(readLines(Readable.from(pieces), 'x'))).toEqual(['ä', '', 'second line', 'last'])
    }
  })

  it('that are too long end the reading before they are in memory', async () => {
    let given = 0
    const endless = Readable.from(
      (function* () {
        for (;;) {
          given++
          yield Buffer.alloc(1000, 'x')
        }
      })(),
      { objectMode: true },
    )
    await expect(gathered(readLines(endless, 'rows/x.ndjson', 10_000))).rejects.toMatchObject({
      fault: 'DamagedBackup',
    })
    expect(given).toBeLessThan(40)
    expect(endless.destroyed).toBe(true)
  })

  it('wait for a target that is slow, and break as it does', async () => {
    let stream: Readable | undefined
    let fail: ((error: Error) => void) | undefined
    const target = new MemoryTarget()
    target.write = (_path, body) => {
      stream = body as Readable
      return new Promise((_, reject) => {
        fail = reject
      })
    }
    const writer = new LineWriter(target, 'x/rows.ndjson')
    let waiting: Promise<void> | undefined
    while (!waiting) waiting = writer.add('x'.repeat(10_000))
    waiting.catch(() => {})
    expect(stream?.readableLength).toBeLessThan(1_000_000)

    fail?.(new Error('the disk is full'))

    await expect(waiting).rejects.toThrow('the disk is full')
    await expect(writer.end()).rejects.toThrow('the disk is full')
  })
})

describe('two sorted lists', () => {
  it('are merged by version', async () => {
    const merged = await gathered(
      mergeByVersion(each(entry(1), entry(2), entry(4)), each(entry(2), entry(3))),
    )
    expect(merged.map(({ version, a, b }) => [version, a?.size, b?.size])).toEqual([
      [version(1), 1, undefined],
      [version(2), 2, 2],
      [version(3), undefined, 3],
      [version(4), 4, undefined],
    ])
  })

  it('are both let go of by a reader who has enough', async () => {
    const ended: string[] = []
    const list = async function* (name: string) {
      try {
        yield entry(1)
        yield entry(2)
      } finally {
        ended.push(name)
      }
    }
    for await (const _ of mergeByVersion(list('a'), list('b'))) break
    expect(ended.sort()).toEqual(['a', 'b'])
  })
})

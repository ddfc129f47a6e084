import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import type { BytesEntry } from '../../../src/jobs/backup/entries.ts'
import {
  type LogStatus,
  readLogStatus,
  readSegment,
  readVersions,
  writeLogStatus,
  writeSegment,
  writeVersions,
} from '../../../src/jobs/backup/log-folder.ts'
import { MemoryTarget } from './memory-target.ts'

const SEGMENT = '000000010000000000000003'
const segment = Buffer.concat([randomBytes(300), Buffer.alloc(1000)])
const status: LogStatus = {
  system_identifier: '7300000000000000000',
  timeline: 1,
  since: '0/3000000',
  next: '0/4000000',
  until: '2026-11-28T10:15:00.000Z',
}
const entries: BytesEntry[] = ['a', 'b'].map((digit) => ({
  version: `00000000-0000-4000-8000-00000000000${digit}`,
  bucket: '00000000-0000-4000-8000-000000000001',
  size: 100,
  sha256: digit.repeat(64),
}))

describe('one flipped byte in the log', () => {
  it.each([
    {
      of: 'state.json',
      write: (target: MemoryTarget) => writeLogStatus(target, status),
      read: (target: MemoryTarget): Promise<unknown> => readLogStatus(target),
      content: status as unknown,
    },
    {
      of: 'a list of versions',
      write: (target: MemoryTarget) => writeVersions(target, { time: 2, previous: 1 }, entries),
      read: async (target: MemoryTarget) => {
        const found: BytesEntry[] = []
        for await (const { in: _, ...entry } of readVersions(target, new Date(0))) found.push(entry)
        return found
      },
      content: entries,
    },
    {
      of: 'a segment',
      write: (target: MemoryTarget) => writeSegment(target, SEGMENT, segment),
      read: async (target: MemoryTarget) => {
        const stream = await readSegment(target, SEGMENT)
        return stream && buffer(stream)
      },
      content: segment,
    },
  ])('is found in $of, and named; or it has changed nothing', async ({ write, read, content }) => {
    const target = new MemoryTarget()
    await write(target)
    expect(await read(target)).toEqual(content)
    const [[path = '', bytes = Buffer.alloc(0)] = []] = target.files
    for (let at = 0; at < bytes.length; at++) {
      const flipped = Buffer.from(bytes)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
      target.files.set(path, flipped)
      const found = await read(target).catch((error: unknown) => error)
      // What is packed has bits that say nothing of its content, as in gzip's header.
      if (!(found instanceof Error) && path.endsWith('.gz')) expect([at, found]).toEqual([at, content])
      else
        expect([at, found]).toMatchObject([
          at,
          { fault: 'DamagedBackup', message: `${path} in memory is damaged` },
        ])
    }
  })
})

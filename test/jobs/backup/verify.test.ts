import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { beforeEach, describe, expect, it } from 'vitest'
import { EncryptedTarget } from '../../../src/jobs/backup/encrypted-target.ts'
import { bytesPath } from '../../../src/jobs/backup/entries.ts'
import { Fingerprints } from '../../../src/jobs/backup/fingerprints.ts'
import { type VerifyReport, verifyBackup } from '../../../src/jobs/backup/verify.ts'
import { type MadeObject, makeBackup, sha256Of } from './made-backup.ts'
import { MemoryTarget } from './memory-target.ts'

const signal = new AbortController().signal
const large = { bucket: 'photos', name: 'large.jpg', bytes: randomBytes(300_000) }
const small = { bucket: 'notes', name: 'small.txt', bytes: Buffer.from('a note'), isInline: true }
const twin = { bucket: 'photos', name: 'copy of large.jpg', bytes: large.bytes }
const other = { bucket: 'photos', name: 'other.jpg', bytes: randomBytes(70_000) }

let target: MemoryTarget
beforeEach(() => {
  target = new MemoryTarget()
})

function verify(id: string): Promise<VerifyReport> {
  return verifyBackup(target, id, { signal })
}

function each(objects: MadeObject[]): MadeObject[] {
  return objects.map((object) => ({ ...object }))
}

function change(path: string, how: (bytes: Buffer) => Buffer): void {
  const bytes = target.files.get(path)
  if (!bytes) throw new Error(`no ${path}`)
  target.files.set(path, how(Buffer.from(bytes)))
}

function flip(path: string, at: number): void {
  change(path, (bytes) => {
    bytes[at] = (bytes[at] ?? 0) ^ 1
    return bytes
  })
}

/** A full backup, and one upon it that has a new object and shares all others. */
async function makeBoth() {
  const objects = each([large, small, twin])
  const full = await makeBackup(target, objects)
  const last = await makeBackup(target, [...objects, { ...other }], full)
  return { full: full.manifest.id, last: last.manifest.id }
}

const largePath = bytesPath(sha256Of(large.bytes))

describe('a backup that is whole', () => {
  it('is found to be so, with all it has in its parents', async () => {
    const { full, last } = await makeBoth()
    expect(await verify(full)).toMatchObject({
      count: 0,
      findings: [],
      backups: [full],
      versions: 3,
      objects: 3,
    })
    expect(await verify(last)).toMatchObject({
      count: 0,
      findings: [],
      backups: [last, full],
      versions: 4,
      objects: 4,
    })
  })

  it('tells how far it has come', async () => {
    const { full } = await makeBoth()
    const seen: number[] = []
    const report = await verifyBackup(target, full, { signal, onProgress: ({ bytes }) => seen.push(bytes) })
    expect(report.bytes).toBeGreaterThan(large.bytes.length)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.at(-1)).toBe(report.bytes)
  })

  it('names what had lost its bytes before, which is no fault of the backup', async () => {
    const { manifest } = await makeBackup(target, each([large, { ...other, isLost: true }]))
    expect(await verify(manifest.id)).toMatchObject({ count: 0, damaged: ['photos/other.jpg'] })
  })
})

describe('one flipped byte is found and named', () => {
  it.each([
    'manifest.json',
    'files.ndjson',
    'bytes.ndjson',
    'rows/buckets.ndjson',
    'rows/objects.ndjson',
    'rows/inline_bytes.ndjson',
    largePath,
  ])('wherever it is in %s', async (name) => {
    const { manifest } = await makeBackup(target, each([large, small, twin]))
    const path = `${manifest.id}/${name}`
    const { length } = target.files.get(path) ?? []
    for (const at of [0, Math.floor(length / 3), Math.floor(length / 2), length - 1]) {
      flip(path, at)
      const { count, findings } = await verify(manifest.id)
      expect(count, `byte ${at}`).toBeGreaterThan(0)
      expect(findings.map((finding) => finding.path)).toContain(path)
      expect(new Set(findings.map((finding) => finding.path)).size).toBe(1)
      flip(path, at)
    }
    expect((await verify(manifest.id)).count).toBe(0)
  })

  it('with all objects that have lost their bytes, from a parent too', async () => {
    const { full, last } = await makeBoth()
    flip(`${full}/${largePath}`, 1000)
    const { findings } = await verify(last)
    expect(findings).toEqual([
      {
        kind: 'changed',
        path: `${full}/${largePath}`,
        why: 'is not what was written: its SHA-256 differs',
        objects: ['photos/large.jpg', 'photos/copy of large.jpg'],
      },
    ])
  })

  it('in bytes that are a line of a parent', async () => {
    const { full, last } = await makeBoth()
    const path = `${full}/rows/inline_bytes.ndjson`
    flip(path, (target.files.get(path)?.indexOf('"bytes":"') ?? 0) + 10)
    const { findings } = await verify(last)
    expect(findings.map(({ path: at, why }) => [at, why])).toEqual([
      [path, 'has a damaged line, number 1'],
      [path, expect.stringMatching(/^does not have the bytes of version /)],
    ])
    expect(findings.flatMap(({ objects }) => objects)).toEqual(['notes/small.txt'])
  })

  it('in an encrypted file', async () => {
    const identity = await generateX25519Identity()
    const recipient = await identityToRecipient(identity)
    const encrypted = new EncryptedTarget({ place: target, recipient, identity: async () => identity })
    const { manifest } = await makeBackup(encrypted, each([large, small]))
    expect(await verifyBackup(encrypted, manifest.id, { signal })).toMatchObject({ count: 0, objects: 2 })
    for (const name of ['files.ndjson', 'rows/objects.ndjson', largePath]) {
      const path = `${manifest.id}/${name}.age`
      flip(path, (target.files.get(path)?.length ?? 0) - 1)
      const { findings } = await verifyBackup(encrypted, manifest.id, { signal })
      expect(findings.map((finding) => [finding.kind, finding.path])).toEqual([
        ['changed', `${manifest.id}/${name}`],
      ])
      flip(path, (target.files.get(path)?.length ?? 0) - 1)
    }
  })
})

describe('what else can be wrong is found and named', () => {
  it.each(['files.ndjson', 'bytes.ndjson', 'rows/objects.ndjson', 'rows/inline_bytes.ndjson', largePath])(
    'when %s is missing, or cut off',
    async (name) => {
      const { manifest } = await makeBackup(target, each([large, small]))
      const path = `${manifest.id}/${name}`
      const whole = target.files.get(path) ?? Buffer.alloc(0)
      target.files.set(path, whole.subarray(0, -1))
      expect((await verify(manifest.id)).findings).toContainEqual(
        expect.objectContaining({ kind: 'changed', path }),
      )
      target.files.delete(path)
      const { findings } = await verify(manifest.id)
      expect(findings).toContainEqual({
        kind: 'missing',
        path,
        why: 'is not there',
        objects: expect.any(Array),
      })
      if (name === largePath) expect(findings).toHaveLength(1)
      if (name === largePath) expect(findings[0]?.objects).toEqual(['photos/large.jpg'])
    },
  )

  it('when two files are swapped', async () => {
    const { manifest } = await makeBackup(target, each([large, other]))
    const [one, two] = [`${manifest.id}/${largePath}`, `${manifest.id}/${bytesPath(sha256Of(other.bytes))}`]
    const bytes = target.files.get(one) ?? Buffer.alloc(0)
    target.files.set(one, target.files.get(two) ?? Buffer.alloc(0))
    target.files.set(two, bytes)
    const { findings, count } = await verify(manifest.id)
    expect(count).toBe(2)
    expect(findings.map(({ path, objects }) => [path, objects])).toEqual(
      expect.arrayContaining([
        [one, ['photos/large.jpg']],
        [two, ['photos/other.jpg']],
      ]),
    )
  })

  it('when there is a file too many', async () => {
    const { full, last } = await makeBoth()
    const stray = bytesPath(sha256Of(Buffer.from('stray')))
    const paths = ['rows/objects.ndjson.bak', 'notes.txt', stray, 'bytes/aa/no-hash'].map(
      (path) => `${last}/${path}`,
    )
    for (const path of paths) target.files.set(path, Buffer.from('stray'))
    const { findings } = await verify(last)
    expect(findings.map(({ kind, path }) => [kind, path]).sort()).toEqual(
      paths.map((path) => ['unlisted', path]).sort(),
    )
    expect((await verify(full)).count).toBe(0)
  })

  it('when a line has bytes of nobody', async () => {
    const { manifest } = await makeBackup(target, each([small]))
    const path = `${manifest.id}/rows/inline_bytes.ndjson`
    const line = {
      version: '00000000-0000-4000-8000-000000000001',
      sha256: sha256Of(Buffer.from('x')),
      bytes: 'eA==',
    }
    change(path, (bytes) => Buffer.concat([bytes, Buffer.from(`${JSON.stringify(line)}\n`)]))
    expect((await verify(manifest.id)).findings).toContainEqual(
      expect.objectContaining({ kind: 'unlisted', path, why: expect.stringContaining(line.version) }),
    )
  })

  it('when a parent is gone, or its bytes are', async () => {
    const { full, last } = await makeBoth()
    target.files.delete(`${full}/manifest.json`)
    expect((await verify(last)).findings).toMatchObject([
      { kind: 'missing', why: expect.stringContaining(full) },
    ])
    await target.removeAll(`${full}/`)
    const { findings } = await verify(last)
    expect(findings.map(({ path }) => path)).toContain(`${full}/${largePath}`)
    expect(findings.flatMap(({ objects }) => objects).sort()).toEqual(
      ['notes/small.txt', 'photos/copy of large.jpg', 'photos/large.jpg'].sort(),
    )
  })

  it('when an object has bytes in no list, though nothing says that they were lost before', async () => {
    const { manifest } = await makeBackup(target, each([large, { ...other, isLost: true }]))
    const unaware = await makeBackup(target, each([large]))
    const rows = target.files.get(`${manifest.id}/rows/objects.ndjson`) ?? Buffer.alloc(0)
    target.files.set(`${unaware.manifest.id}/rows/objects.ndjson`, rows)
    const { findings } = await verify(unaware.manifest.id)
    expect(findings).toContainEqual({
      kind: 'missing',
      path: `${unaware.manifest.id}/bytes.ndjson`,
      why: 'does not have the bytes of an object',
      objects: ['photos/other.jpg'],
    })
  })

  it('when a file cannot be read, but not when the whole target cannot', async () => {
    const { manifest } = await makeBackup(target, each([large]))
    const path = `${manifest.id}/${largePath}`
    const read = target.read.bind(target)
    target.read = async (at) =>
      at === path
        ? new Readable({
            read() {
              this.destroy(Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' }))
            },
          })
        : read(at)
    expect((await verify(manifest.id)).findings).toMatchObject([
      {
        kind: 'unreadable',
        path,
        why: 'cannot be read: EIO: i/o error, read',
        objects: ['photos/large.jpg'],
      },
    ])
    target.exists = async (at) => {
      if (at.endsWith('manifest.json') && isGone) throw new Error('the disk is gone')
      return target.files.get(at)?.length ?? null
    }
    let isGone = false
    target.list = async function* () {
      isGone = true
      yield { path, size: 1, modifiedAt: new Date(0) }
    }
    await expect(verify(manifest.id)).rejects.toThrow('the disk is gone')
  })
})

it('a verification can be ended', async () => {
  const { manifest } = await makeBackup(target, each([large]))
  const controller = new AbortController()
  const options = { signal: controller.signal, onProgress: () => controller.abort(new Error('enough')) }
  await expect(verifyBackup(target, manifest.id, options)).rejects.toThrow('enough')
})

it('a set of fingerprints knows what is in it', () => {
  const set = new Fingerprints()
  const numbers = Array.from({ length: 5000 }, (_, index) => (index * 7919) % 10_007)
  const known = new Set(numbers)
  for (const number of [...numbers, ...numbers]) set.add(number)
  for (let number = 0; number < 10_007; number++) expect(set.has(number)).toBe(known.has(number))
  const [first = 0] = numbers
  expect(set.isMarked(first)).toBe(false)
  expect(set.mark(first)).toBe(true)
  expect(set.isMarked(first)).toBe(true)
  expect(set.mark(20_000)).toBe(false)
})

import { beforeEach, describe, expect, it } from 'vitest'
import {
  backupChain,
  deleteBackup,
  type Fate,
  listBackups,
  removeAbandoned,
} from '../../../src/jobs/backup/backups.ts'
import { type Manifest, manifestPath, writeManifest } from '../../../src/jobs/backup/manifest.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { MemoryTarget } from './memory-target.ts'
import { newManifest } from './new-manifest.ts'

const DAY_MS = 86_400_000
let target: MemoryTarget
let clock: number

beforeEach(() => {
  target = new MemoryTarget()
  clock = Date.parse('2026-11-01T00:00:00Z')
})

/** A whole backup with a file, a second later than the one before. */
async function makeBackup(parent: Manifest | null = null): Promise<Manifest> {
  clock += 1000
  const manifest = newManifest({
    id: uuidV7(new Date(clock)),
    parent: parent?.id ?? null,
    type: parent ? 'incremental' : 'full',
  })
  await target.write(`${manifest.id}/rows/objects.ndjson`, Buffer.from('x'))
  await writeManifest(target, manifest)
  return manifest
}

async function ids(): Promise<string[]> {
  const list: string[] = []
  for await (const { id } of listBackups(target)) list.push(id)
  return list
}

describe('the list of backups', () => {
  it('has whole ones, the newest first, and nothing else', async () => {
    const [first, second] = [await makeBackup(), await makeBackup()]
    await target.write(`${uuidV7()}/rows/objects.ndjson`, Buffer.from('x'))
    await target.write('log/wal/000000010000000000000001', Buffer.from('x'))
    expect(await ids()).toEqual([second.id, first.id])
  })

  it('goes on past those that cannot be read, and names them', async () => {
    const [first, second] = [await makeBackup(), await makeBackup()]
    target.files.set(manifestPath(second.id), Buffer.from('{"format":7}'))
    const third = await makeBackup()
    target.files.set(manifestPath(third.id), Buffer.from('{"format":1,'))
    const unreadable: string[] = []
    for await (const { id } of listBackups(target, (one) =>
      unreadable.push(`${one.id} ${one.error.fault}`),
    )) {
      expect(id).toBe(first.id)
    }
    expect(unreadable).toEqual([`${third.id} DamagedBackup`, `${second.id} NewerFormat`])
  })
})

describe('a chain', () => {
  it('goes down to the full backup', async () => {
    const full = await makeBackup()
    const middle = await makeBackup(full)
    const last = await makeBackup(middle)
    expect((await backupChain(target, last.id)).map(({ id }) => id)).toEqual([last.id, middle.id, full.id])
  })

  it('with a hole says what is missing', async () => {
    const full = await makeBackup()
    const last = await makeBackup(full)
    target.files.delete(manifestPath(full.id))
    await expect(backupChain(target, last.id)).rejects.toMatchObject({
      fault: 'DamagedBackup',
      message: `Backup ${last.id} in memory builds on ${full.id}, which is not there any more`,
    })
  })

  it('that bites its tail ends', async () => {
    const one = newManifest()
    const other = newManifest({ parent: one.id, type: 'incremental' })
    await writeManifest(target, { ...one, parent: other.id, type: 'incremental' })
    await writeManifest(target, other)
    await expect(backupChain(target, one.id)).rejects.toMatchObject({ fault: 'DamagedBackup' })
  })
})

describe('a backup is deleted', () => {
  it('with all its files, its manifest first', async () => {
    const [kept, gone] = [await makeBackup(), await makeBackup()]
    const removed: string[] = []
    target.remove = async (path) => {
      removed.push(path)
      target.files.delete(path)
    }
    await deleteBackup(target, gone.id)
    expect(removed).toEqual([manifestPath(gone.id)])
    expect([...target.files.keys()].every((path) => path.startsWith(kept.id))).toBe(true)
    expect(await ids()).toEqual([kept.id])
  })

  it('unless another was made upon it', async () => {
    const full = await makeBackup()
    const last = await makeBackup(full)
    await expect(deleteBackup(target, full.id)).rejects.toMatchObject({
      fault: 'BackupInUse',
      message: expect.stringContaining(`is needed by ${last.id}`),
    })
    await deleteBackup(target, last.id)
    await deleteBackup(target, full.id)
    expect(await ids()).toEqual([])
  })

  it('or another might have been, whose manifest cannot be read; which itself may go', async () => {
    const [full, damaged] = [await makeBackup(), await makeBackup()]
    target.files.set(manifestPath(damaged.id), Buffer.from('{'))
    await expect(deleteBackup(target, full.id)).rejects.toMatchObject({ fault: 'BackupInUse' })
    await deleteBackup(target, damaged.id)
    await deleteBackup(target, full.id)
    expect(target.files.size).toBe(0)
  })

  it('that is not there is an error', async () => {
    for (const id of [uuidV7(), 'log', '..']) {
      await expect(deleteBackup(target, id)).rejects.toMatchObject({ fault: 'NoSuchBackup' })
    }
  })
})

it('what killed backups have left is removed, but not of one that is under way', async () => {
  const whole = await makeBackup()
  const ended = uuidV7(new Date(clock + DAY_MS))
  const [killed, owned, young] = [
    uuidV7(new Date(clock)),
    uuidV7(new Date(clock)),
    uuidV7(new Date(clock + DAY_MS)),
  ]
  const touched = uuidV7(new Date(clock))
  for (const id of [killed, owned, young, touched, ended])
    await target.write(`${id}/rows/objects.ndjson`, Buffer.from('x'))
  await target.write('log/wal/1', Buffer.from('x'))
  const list = target.list.bind(target)
  target.list = async function* (prefix) {
    for await (const file of list(prefix)) {
      const modifiedAt = new Date(file.path.startsWith(touched) ? clock + DAY_MS : clock)
      yield { ...file, modifiedAt }
    }
  }

  const now = new Date(clock + 1.5 * DAY_MS)
  const fates = new Map<string, Fate>([
    [owned, 'under way'],
    [ended, 'ended'],
  ])
  expect(await removeAbandoned(target, async (id) => fates.get(id) ?? 'unknown', now)).toEqual([
    ended,
    killed,
  ])

  expect((await target.folders()).sort()).toEqual([whole.id, owned, young, touched, 'log'].sort())
})

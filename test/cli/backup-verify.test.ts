import { randomBytes } from 'node:crypto'
import { appendFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readConfig } from '../../src/config/config.ts'
import { bytesPath } from '../../src/jobs/backup/entries.ts'
import { openTarget } from '../../src/jobs/backup/open-target.ts'
import { makeBackup, sha256Of } from '../jobs/backup/made-backup.ts'
import { newFolder, strongroom } from '../support/command.ts'

const photo = { bucket: 'photos', name: 'a\u0007b.jpg', bytes: randomBytes(30_000) }
const PATH = bytesPath(sha256Of(photo.bytes))

let folder: string
beforeAll(async () => {
  folder = await newFolder()
})
afterAll(() => rm(folder, { recursive: true }))

async function backupIn(name: string, settings: Record<string, string> = {}) {
  const at = join(folder, name)
  const config = readConfig({ STORAGE_DATA_DIR: join(folder, 'data'), ...settings })
  const target = await openTarget(at, config, { forWriting: true })
  const full = await makeBackup(target, [photo])
  const last = await makeBackup(target, [photo], full)
  return { at, full: full.manifest.id, last: last.manifest.id }
}

const verify = (args: string[], env = {}) => strongroom(['backup', 'verify', ...args], { cwd: folder, env })

describe('strongroom backup verify', () => {
  it('reads the newest backup again, beside no server', async () => {
    const { at, full, last } = await backupIn('whole')
    const newest = await verify([], { STORAGE_BACKUP_TARGET: at })
    expect(newest.stdout).toContain(`Backup ${last} and the 1 that it builds on in ${at} is whole: 1 objects`)
    expect(newest.code).toBe(0)
    const chosen = await verify([full, '--from', at, '--json'])
    expect(JSON.parse(chosen.stdout)).toMatchObject({ backups: [full], count: 0, objects: 1 })
  })

  it('names what is damaged, and the objects that are lost', async () => {
    const { at, full, last } = await backupIn('damaged')
    await appendFile(join(at, full, PATH), 'x')
    await writeFile(join(at, last, 'stray.txt'), 'x')
    const { code, stdout } = await verify(['--from', at])
    expect(code).toBe(1)
    expect(stdout).toContain(
      `changed      ${full}/${PATH} is not what was written: its SHA-256 differs (photos/a\\u0007b.jpg)\n`,
    )
    expect(stdout).toContain(`unlisted     ${last}/stray.txt is in no list of the backup\n`)
    expect(stdout).toContain('has 2 faults')
  })

  it('asks for the key of an encrypted one, in one sentence', async () => {
    const identity = await generateX25519Identity()
    const recipient = await identityToRecipient(identity)
    const { at } = await backupIn('encrypted', { STORAGE_BACKUP_RECIPIENT: recipient })
    const without = await verify(['--from', at])
    expect(without.code).toBe(1)
    expect(without.stderr.trim()).toBe(
      `strongroom: ${at} is encrypted for ${recipient}: its identity is needed to read it (--identity, or STORAGE_BACKUP_IDENTITY)`,
    )
    await writeFile(join(folder, 'key.txt'), `# created: today\n${identity}\n`)
    expect((await verify(['--from', at, '--identity', join(folder, 'key.txt')])).code).toBe(0)
  })

  it.each([
    ['no-backup', 'There is no backup "no-backup" in'],
    ['0198a6c0-0000-7000-8000-000000000000', 'There is no backup "0198a6c0-0000-7000-8000-000000000000" in'],
  ])('knows no backup %s', async (id, sentence) => {
    const { at } = await backupIn(`none-${id}`)
    const { code, stderr } = await verify([id, '--from', at])
    expect(code).toBe(1)
    expect(stderr).toContain(`strongroom: ${sentence} ${at}`)
  })
})

describe('strongroom backup delete', () => {
  it('deletes a backup, also one whose manifest is damaged, and none that another is made upon', async () => {
    const { at, full, last } = await backupIn('deleted')
    const remove = (id: string) => strongroom(['backup', 'delete', id, '--from', at], { cwd: folder })
    const needed = await remove(full)
    expect([needed.code, needed.stderr]).toEqual([1, expect.stringContaining(`is needed by ${last}`)])
    await appendFile(join(at, last, 'manifest.json'), 'x')
    expect(await remove(last)).toMatchObject({ code: 0, stdout: `Backup ${last} is gone from ${at}.\n` })
    expect((await remove(full)).code).toBe(0)
  })
})

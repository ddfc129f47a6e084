import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FolderTarget } from '../../../src/jobs/backup/folder-target.ts'
import { readBlocks } from '../../docs/blocks.ts'
import { Shell } from '../../docs/shell.ts'
import { isInstalled } from '../../support/installed.ts'
import { makeBackup } from './made-backup.ts'

/** What docs/backups.md tells a person to type who has no Strongroom. */
const COMMANDS = readBlocks('docs/backups.md')
  .filter(({ kind, notRun }) => kind === 'sh' && notRun?.includes('by-hand.test.ts'))
  .map(({ text }) => text)
const [CHOICE = '', FIND = '', TAKE = '', COMPARE = ''] = COMMANDS

const file = { bucket: 'photos', name: 'summer/beach.jpg', bytes: randomBytes(100_000) }
const line = { bucket: 'notes', name: 'it\'s "ä" $(note).txt', bytes: Buffer.from('a note'), isInline: true }
const added = { bucket: 'photos', name: 'winter.jpg', bytes: randomBytes(1000) }

describe.runIf(isInstalled('jq'))('by hand, as docs/backups.md has it,', () => {
  let folder: string
  let last: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'strongroom-backup-by-hand-'))
    const target = new FolderTarget({ root: join(folder, 'target'), name: 'target', fsync: false })
    const full = await makeBackup(target, [file, line])
    last = (await makeBackup(target, [file, line, added], full)).manifest.id
    await target.write(
      `${last.slice(0, -12)}ffffffffffff/rows/objects.ndjson`,
      Buffer.from('of a killed one'),
    )
  })
  afterAll(() => rm(folder, { recursive: true }))

  /** Types blocks into a new shell, in their order. */
  async function type(blocks: string[], { bucket, name } = { bucket: '', name: '' }) {
    const shell = new Shell(join(folder, 'target'), { CHOSEN_BUCKET: bucket, CHOSEN_NAME: name })
    const inFolder = (text: string) =>
      text
        .replaceAll('/tmp/', `${folder}/`)
        .replace('cd /mnt/backups', '')
        .replace('BUCKET=photos', 'BUCKET=$CHOSEN_BUCKET')
        .replace("NAME='summer/beach.jpg'", 'NAME=$CHOSEN_NAME')
    try {
      return await shell.run(blocks.map(inFolder).join('\n'))
    } finally {
      await shell.close()
    }
  }

  it.each([
    ['a file of a parent', file],
    ['a line of a parent', line],
    ['a file of its own', added],
  ])('an object is restored that is %s', async (_, object) => {
    const { printed, failed, said } = await type([CHOICE, FIND, TAKE], object)
    expect(failed, said).toEqual([])
    expect(printed).toContain('restored: OK')
    expect(object.bytes.equals(await readFile(join(folder, 'restored')))).toBe(true)
  })

  it('all of a backup is compared, and what is wrong is named', async () => {
    expect(await type([CHOICE, COMPARE])).toMatchObject({ failed: [], printed: '' })
    const target = new FolderTarget({ root: join(folder, 'target'), name: 'target', fsync: false })
    await target.write(`${last}/rows/buckets.ndjson`, Buffer.from('{}\n'))
    const { failed, printed } = await type([CHOICE, COMPARE])
    expect(failed.length).toBeGreaterThan(0)
    expect(printed).toContain(`${last}/rows/buckets.ndjson: FAILED`)
  })
})

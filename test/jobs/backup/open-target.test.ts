import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readConfig } from '../../../src/config/config.ts'
import { openTarget } from '../../../src/jobs/backup/open-target.ts'
import { textOf } from './target-contract.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'strongroom-backup-open-'))
})
afterAll(() => rm(folder, { recursive: true }))

const at = (...names: string[]) => join(folder, ...names)
const config = () => readConfig({ STORAGE_DATA_DIR: at('data') })
const forWriting = true

describe('a folder', () => {
  it('is made a target by the first backup, and known as one then', async () => {
    const made = await openTarget(at('new', 'target'), config(), { forWriting })
    await made.write('id/file', Buffer.from('x'))
    const known = await openTarget(at('new', 'target'), config())
    expect(await textOf(known, 'id/file')).toBe('x')
    expect(JSON.parse(await readFile(at('new', 'target', 'strongroom-backups.json'), 'utf8'))).toEqual({
      format: 1,
    })
  })

  it('may have been made before, as long as nothing is in it; what a killed start has left is nothing', async () => {
    await mkdir(at('prepared'))
    await writeFile(at('prepared', 'strongroom-backups.json.new-0123456789abcdef'), '{')
    await (await openTarget(at('prepared'), config(), { forWriting })).check()
    expect(await readdir(at('prepared'))).toContain('strongroom-backups.json')
  })

  it('that has files of others is refused, and left as it is', async () => {
    await mkdir(at('home'))
    await writeFile(at('home', 'letter.txt'), 'x')
    for (const options of [{}, { forWriting }]) {
      await expect(openTarget(at('home'), config(), options)).rejects.toMatchObject({
        fault: 'UnusableTarget',
        message: expect.stringContaining(`${at('home')} has other files than backups in it`),
      })
    }
    expect(await readdir(at('home'))).toEqual(['letter.txt'])
  })

  it('that is not there has no backups, and is not made by who only looks', async () => {
    await expect(openTarget(at('nowhere'), config())).rejects.toMatchObject({
      fault: 'UnusableTarget',
      message: `There are no backups in ${at('nowhere')}`,
    })
    expect(await readdir(folder)).not.toContain('nowhere')
  })

  it.each(['objects', 'objects/x/y', 'postgres', 'spool', '.'])(
    "is not among the server's own files: <data>/%s",
    async (name) => {
      await expect(openTarget(at('data', name), config(), { forWriting })).rejects.toMatchObject({
        fault: 'UnusableTarget',
      })
    },
  )

  it("is not among the server's own files by a link either", async () => {
    await mkdir(at('data', 'objects'), { recursive: true })
    await symlink(at('data'), at('link'))
    await expect(openTarget(at('link', 'objects', 'b'), config(), { forWriting })).rejects.toMatchObject({
      fault: 'UnusableTarget',
    })
    await openTarget(at('link', 'backups'), config(), { forWriting })
    expect(await readdir(at('data', 'backups'))).toEqual(['strongroom-backups.json'])
  })

  it('of a newer format, or with a damaged marker, says so', async () => {
    await mkdir(at('marked'))
    await writeFile(at('marked', 'strongroom-backups.json'), '{"format":2}')
    await expect(openTarget(at('marked'), config())).rejects.toMatchObject({ fault: 'NewerFormat' })
    await writeFile(at('marked', 'strongroom-backups.json'), '{"for')
    await expect(openTarget(at('marked'), config())).rejects.toMatchObject({ fault: 'DamagedBackup' })
  })
})

it.each([
  '',
  'ftp://host/x',
  's3://',
  's3://b',
  's3://bucket/../x',
  's3://bucket/a b',
  'https://host/bucket',
])('%j is no target', async (name) => {
  await expect(openTarget(name, config(), { forWriting })).rejects.toMatchObject({ fault: 'UnusableTarget' })
})

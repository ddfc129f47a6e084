import { mkdir, readdir, realpath, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findPlaces } from '../../src/cli/where.ts'
import { newFolder, removeFolder, strongroom } from '../support/command.ts'

let folder: string
/** As root's servers leave them: one whose database is elsewhere, one that is gone, and one from before there were notes. */
const at = (...path: string[]) => join(folder, ...path)

beforeAll(async () => {
  folder = await realpath(await newFolder())
  for (const path of ['data/objects/b', 'library/postgres-1', 'library/postgres-2', 'library/postgres-3']) {
    await mkdir(at(path), { recursive: true })
  }
  await mkdir(at('cache/postgresql-18.4.0-linux-x64'), { recursive: true })
  await writeFile(at('data/keys.json'), '{}')
  await writeFile(at('data/objects/b/version'), Buffer.alloc(3_000_000, 1))
  await writeFile(at('library/postgres-1/PG_VERSION'), '18\n')
  await symlink(at('library/postgres-1'), at('data/postgres'))
  await writeFile(at('library/postgres-1.place'), `${at('data/postgres')}\n`)
  await writeFile(at('library/postgres-2.place'), `${at('gone/postgres')}\n`)
})
afterAll(() => removeFolder(folder, []))

const places = (dataDir: string) => findPlaces(dataDir, { libraryDir: at('library'), cacheDir: at('cache') })

describe('strongroom where', () => {
  it('names what is in the data folder, and what is beside it, with sizes', async () => {
    const found = await places(at('data'))
    expect(found.map(({ about, path }) => [about, path])).toEqual([
      ['program', expect.any(String)],
      ['data folder', at('data')],
      ['keys', at('data/keys.json')],
      ['files', at('data/objects')],
      ['database', at('library/postgres-1')],
      ['PostgreSQL', at('cache/postgresql-18.4.0-linux-x64')],
      ['other database', at('library/postgres-2')],
      ['other database', at('library/postgres-3')],
    ])
    const [, all, , files, database, , left, unknown] = found
    expect(Number(files?.size)).toBeGreaterThanOrEqual(3_000_000)
    expect(Number(all?.size)).toBeGreaterThan(Number(files?.size))
    expect(database?.note).toBe(`${at('data/postgres')} is a link to it: back up both`)
    expect(left?.note).toBe(
      `of ${at('gone')}, which is gone, was moved, or has another: remove it once nothing needs it`,
    )
    expect(unknown?.note).toBe('of another data folder, or of one that is gone')
  })

  it('says of a data folder that there is none, and whose the databases are', async () => {
    const [, data, , other] = await places(at('nothing'))
    expect(data).toEqual({ about: 'data folder', path: at('nothing'), size: 0, note: 'none yet' })
    expect(other).toMatchObject({ path: at('library/postgres-1'), note: `of ${at('data')}` })
  })

  it('is a command, which changes nothing', async () => {
    const cwd = at('elsewhere')
    await mkdir(cwd)
    const { code, stdout, stderr } = await strongroom(['where'], { cwd })
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(new RegExp(`^data folder +0 B  ${join(cwd, 'storage-data')} \\(none yet\\)$`, 'm'))
    expect(await readdir(cwd)).toEqual([])
  })
})

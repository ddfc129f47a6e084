import { randomBytes } from 'node:crypto'
import { chown, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, newFolder, type Place, removeFolder, strongroom } from '../support/command.ts'

/** Eight processes, one after the other. */
const SLOW = { timeout: 300_000 }

/** Whom root can be instead, and whom the files of the tests do not belong to. */
const NOBODY = { uid: 65_534, gid: 65_534 }
const isRoot = process.getuid?.() === 0

/** Whether he gets to what `npm run build` has made: a clone in root's own folder is root's alone. */
const mayRun = isRoot && (await hasVersion())

async function hasVersion(): Promise<boolean> {
  const { code } = await strongroom(['--version'], { cwd: '/', user: NOBODY })
  return code === 0
}

describe.runIf(mayRun || !isRoot)(
  'a user who is not root (as root it needs a clone that others may read)',
  () => {
    let folder: string
    let place: Place
    const commands: Command[] = []
    beforeAll(async () => {
      folder = await newFolder()
      if (isRoot) await chown(folder, NOBODY.uid, NOBODY.gid)
      place = {
        cwd: folder,
        env: {
          HOME: folder,
          STORAGE_PORT: '0',
          STORAGE_S3_PROTOCOL_PORT: '0',
          STORAGE_FSYNC: 'false',
          STORAGE_BACKUP_SHARE: '1',
        },
        ...(isRoot && { user: NOBODY }),
      }
    })
    afterAll(() => removeFolder(folder, commands))

    async function serve(env: Record<string, string> = {}) {
      const command = new Command(['serve'], { ...place, env: { ...place.env, ...env } })
      commands.push(command)
      return { command, url: `${await command.url()}/storage/v1` }
    }
    async function succeeds(args: string[], env: Record<string, string> = {}): Promise<string> {
      const { code, stdout, stderr } = await strongroom(args, { ...place, env: { ...place.env, ...env } })
      expect([args, code, stderr]).toEqual([args, 0, expect.not.stringContaining('strongroom:')])
      return stdout
    }

    it('serves, makes backups, verifies and restores them, and owns all that comes of it', SLOW, async () => {
      const large = randomBytes(300_000)
      const { command, url } = await serve()
      const { serviceKey } = JSON.parse(await succeeds(['keys']))
      const headers = { authorization: `Bearer ${serviceKey}` }
      const json = { ...headers, 'content-type': 'application/json' }
      await fetch(`${url}/bucket`, { method: 'POST', headers: json, body: '{"name":"box"}' })
      await fetch(`${url}/object/box/large`, { method: 'PUT', headers, body: large })
      await succeeds(['backup', 'create', '--with-keys'])
      await fetch(`${url}/object/box/small`, { method: 'PUT', headers, body: 'few bytes' })
      await succeeds(['backup', 'create', '--with-keys', '--incremental'])
      expect(await succeeds(['backup', 'verify'])).toContain('is whole: 2 objects')
      command.signal('SIGTERM')
      expect(await command.ended).toMatchObject({ code: 0 })

      const from = join(folder, 'storage-data', 'backups')
      const there = { STORAGE_DATA_DIR: join(folder, 'restored') }
      await succeeds(['restore', '--from', from], there)
      const again = await serve(there)
      const read = async (name: string) =>
        Buffer.from(await (await fetch(`${again.url}/object/box/${name}`, { headers })).arrayBuffer())
      expect([await read('large'), await read('small')]).toEqual([large, Buffer.from('few bytes')])
      again.command.signal('SIGTERM')
      expect(await again.command.ended).toMatchObject({ code: 0 })

      const uid = isRoot ? NOBODY.uid : process.getuid?.()
      const keys = join(there.STORAGE_DATA_DIR, 'keys.json')
      for (const path of [from, there.STORAGE_DATA_DIR, keys]) expect((await stat(path)).uid).toBe(uid)
      for (const path of [from, keys]) expect([path, (await stat(path)).mode & 0o077]).toEqual([path, 0])
    })
  },
)

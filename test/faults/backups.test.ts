import { createHash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, strongroom } from '../support/command.ts'
import type { Served } from '../support/server.ts'
import { within } from '../support/wait.ts'
import { Load } from './load.ts'
import { MovingLoad } from './moving-load.ts'
import type { Possible } from './possibilities.ts'
import { newSeed, Random } from './random.ts'
import { ServerProcesses } from './server-processes.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const ROUNDS = isFull ? 100 : 2
const KILLS = isFull ? 40 : 2
const CLIENTS = isFull ? 8 : 2
const LIMIT_MS = 240_000

interface Listed {
  id: string
}

describe('backups of a server at work, with the PostgreSQL that comes along', () => {
  const tally = new Tally('backups under load')
  let servers: ServerProcesses
  let load: Load
  let moving: MovingLoad
  beforeAll(async () => {
    servers = await ServerProcesses.open({ STORAGE_S3_PROTOCOL_PORT: '0' }, () => ({}))
    await servers.start()
    await servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })
    const seed = newSeed()
    load = new Load({ request: raw }, 'box', seed)
    moving = new MovingLoad(servers, 'box', load.possible, seed + 1000)
    load.start(CLIENTS)
    moving.start()
    await load.succeeds(20)
  }, LIMIT_MS)
  afterAll(async () => {
    await moving?.stop()
    await load?.stop()
    tally.print()
    await servers?.remove()
  }, LIMIT_MS)

  /** A body is sent as it is. */
  const raw: Served['request'] = (method, path, { body } = {}) => {
    const headers = { authorization: `Bearer ${servers.keys.serviceKey}` }
    const answer = fetch(`${servers.url}${path}`, { method, headers, ...(body && { body: body as string }) })
    return within(answer, `${method} ${path} is answered`)
  }

  const run = (args: string[], env: Record<string, string> = {}) =>
    strongroom(args, { cwd: servers.folder, env: { ...servers.env, ...env } })
  const create = (...more: string[]) => run(['backup', 'create', ...more])
  const list = async (): Promise<Listed[]> => {
    const { code, stdout, stderr } = await run(['backup', 'list', '--json'])
    expect([code, stderr]).toEqual([0, ''])
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
  }

  async function rows<T>(sql: string, folder = 'storage-data'): Promise<T[]> {
    const { stdout } = await run(['sql', '--json', '-c', sql], { STORAGE_DATA_DIR: folder })
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
  }

  /** What a server has that is started on a restored folder, by path. */
  async function contentOf(folder: string): Promise<Map<string, string>> {
    const env = { ...servers.env, STORAGE_DATA_DIR: folder }
    const server = new Command(['serve'], { cwd: servers.folder, env })
    try {
      const url = await server.url()
      const headers = { authorization: `Bearer ${servers.keys.serviceKey}` }
      const found = new Map<string, string>()
      const names = await rows<{ name: string }>('select name from storage.objects', folder)
      for (const { name } of names) {
        const response = await within(fetch(`${url}/object/box/${name}`, { headers }), `${name} is answered`)
        const bytes = new Uint8Array(await response.arrayBuffer())
        found.set(`box/${name}`, response.status === 200 ? sha256(bytes) : String(response.status))
      }
      return found
    } finally {
      server.signal('SIGTERM')
      await server.ended
    }
  }

  /** What is not as it was told at some moment of a backup. */
  function differences(found: Map<string, string>, seen: Map<string, Possible>): string[] {
    const paths = new Set([...found.keys(), ...seen.keys()])
    return [...paths].flatMap((path) => {
      const [is, may] = [found.get(path) ?? null, seen.get(path) ?? new Set([null])]
      return may.has(is) ? [] : [`${path}: ${is} is none of ${[...may]}`]
    })
  }

  async function restored(name: string): Promise<Map<string, string>> {
    const folder = join(servers.folder, name)
    await mkdir(folder)
    const done = await run(['restore', '--from', join(servers.folder, 'storage-data', 'backups')], {
      STORAGE_DATA_DIR: folder,
    })
    expect([done.code, done.stderr]).toEqual([0, expect.not.stringContaining('strongroom:')])
    return contentOf(folder)
  }

  it(`give back exactly what was there at their moment (${ROUNDS} times)`, {
    timeout: ROUNDS * LIMIT_MS,
  }, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const before = load.acknowledged + moving.acknowledged
      const watched = load.possible.watch()
      const made = await create(...(round % 2 === 1 ? ['--incremental'] : []))
      const seen = watched()
      expect([made.code, made.stderr]).toEqual([0, expect.not.stringContaining('strongroom:')])
      const wrong = differences(await restored(`restored-${round}`), seen)
      tally.rounds++
      tally.acknowledged += load.acknowledged + moving.acknowledged - before
      tally.lost += wrong.length
      expect([`${load}`, wrong, load.strange, moving.strange]).toEqual([`${load}`, [], [], []])
    }
  })

  it(`are whole or not there when they are killed (${KILLS} times)`, {
    timeout: (KILLS + 1) * LIMIT_MS,
  }, async () => {
    const random = new Random(newSeed())
    const before = await list()
    for (let kill = 0; kill < KILLS; kill++) {
      const command = new Command(['backup', 'create'], { cwd: servers.folder, env: servers.env })
      await Promise.race([delay(300 + random.below(6000)), command.ended]) // at any moment of it
      command.signal('SIGKILL')
      await command.ended
    }
    for (const { id } of (await list()).filter(({ id }) => !before.some((one) => one.id === id))) {
      const verified = await run(['backup', 'verify', id])
      expect([verified.code, verified.stderr, verified.stdout]).toEqual([0, '', expect.any(String)])
    }
    const watched = load.possible.watch()
    const made = await create()
    const seen = watched()
    expect(made.code).toBe(0)
    expect(differences(await restored('restored-after-kills'), seen)).toEqual([])
    expect(await rows('select name from storage.backup_holds')).toEqual([])
  })
})

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

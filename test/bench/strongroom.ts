import { mkdir, readFile, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from '#postgres'
import { readPostmasterFile, stopPostmaster } from '../../src/database/embedded/postmaster.ts'
import { type Keys, mintToken } from '../../src/server/keys.ts'
import { Api, type Policy } from './api.ts'
import { freePort, type Running, startProgram, untilAnswers } from './processes.ts'

/** The server under test: `strongroom serve` as users run it, with a data folder and a database of its own. */
export interface Strongroom {
  /** Such as `http://127.0.0.1:40123`. */
  url: string
  api: Api
  pid: number
  dataDir: string
  serviceToken: string
  /** A token of the signed-in user USER. */
  userToken: string
  /** Where the embedded database listens, for those who go past the server. */
  database: DatabaseAddress
  /** The database's superuser, for what no client could do in time. */
  admin: postgres.Sql
  createBucket(name: string, policy: Policy): Promise<void>
  upload(path: string, body: Uint8Array<ArrayBuffer>): Promise<void>
  /** Starts a command of `strongroom` beside the server. */
  command(args: string[]): Promise<Running>
  stop(): Promise<void>
}

export interface DatabaseAddress {
  host: string
  port: number
  database: string
}

/** The user whose rights row-level security looks up. */
export const USER = '7b1f5c1e-0000-4000-8000-00000000be9c'

/** What STORAGE_DATABASE_POOL is by default; the references have as many. */
export const CONNECTIONS = 10

export const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

export interface StartOptions {
  /** Another build's. */
  main?: string | undefined
  /** Node's own, such as `--inspect`. */
  nodeOptions?: string[]
  /** Settings, and what else the environment says. */
  env?: NodeJS.ProcessEnv
}

/** Starts one below `folder`. fsync stays on: what is measured is what is promised. */
export async function startStrongroom(
  folder: string,
  name: string,
  options: StartOptions = {},
): Promise<Strongroom> {
  const { main = MAIN, env } = options
  const dataDir = join(folder, name)
  const log = `${dataDir}.log`
  const { child, url } = await spawnStrongroom(dataDir, options)
  await untilAnswers(`${url}/health/ready`, log, child)

  const keys = await readKeysOf(dataDir)
  const cluster = await realpath(join(dataDir, 'postgres'))
  const postmaster = await readPostmasterFile(cluster)
  const database = { host: postmaster?.socketDir ?? cluster, port: 5432, database: 'strongroom' }
  const admin = postgres({ ...database, username: 'postgres', pass: '', max: 1, onnotice: () => {} })
  const userToken = await mintToken(keys.jwtSecret, { role: 'authenticated', subject: USER })
  const api = new Api(`${url}/storage/v1`, keys.serviceKey, userToken, keys.anonKey)
  return {
    url,
    api,
    pid: child.pid,
    dataDir,
    serviceToken: keys.serviceKey,
    userToken,
    database,
    admin,
    createBucket: (bucket, policy) => api.createBucket(bucket, policy),
    upload: (path, body) => api.upload(path, body),
    command: (args) =>
      startProgram([process.execPath, main, ...args], {
        cwd: dataDir,
        env: { ...withoutSettings(), ...env, STORAGE_DATA_DIR: dataDir, STORAGE_CLEANUP_GRACE: '0s' },
        log,
      }),
    stop: async () => {
      await admin.end({ timeout: 1 })
      await child.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** Starts one on a data folder, an old or a new one, without waiting until it answers. Its log is beside the folder. */
export async function spawnStrongroom(
  dataDir: string,
  { main = MAIN, nodeOptions = profilerOptions(), env }: StartOptions = {},
): Promise<{ child: Running; url: string }> {
  await mkdir(dataDir, { recursive: true })
  const port = await freePort()
  const child = await startProgram([process.execPath, ...nodeOptions, main, 'serve'], {
    // In its own folder, so that no .env of ours is read; settings of the shell are not for it either.
    cwd: dataDir,
    env: { ...withoutSettings(), ...env, STORAGE_PORT: String(port), STORAGE_DATA_DIR: dataDir },
    log: `${dataDir}.log`,
    afterwards: () => stopDatabase(dataDir),
  })
  return { child, url: `http://127.0.0.1:${port}` }
}

export async function readKeysOf(dataDir: string): Promise<Keys> {
  return JSON.parse(await readFile(join(dataDir, 'keys.json'), 'utf8')) as Keys
}

/** If the server had to be killed, its database lives on. */
async function stopDatabase(dataDir: string): Promise<void> {
  const cluster = await realpath(join(dataDir, 'postgres')).catch(() => undefined)
  if (cluster === undefined) return // not even begun, or removed
  const orphan = await readPostmasterFile(cluster)
  if (orphan !== undefined) await stopPostmaster(orphan.pid, cluster)
}

/** BENCH_PROFILE=folder leaves a CPU profile of every server under test there. */
function profilerOptions(): string[] {
  const folder = process.env.BENCH_PROFILE
  return folder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${folder}`]
}

function withoutSettings(): NodeJS.ProcessEnv {
  const settings = Object.keys(process.env).filter((name) => /^STORAGE_|^DATABASE_URL$/.test(name))
  return Object.fromEntries(settings.map((name) => [name, undefined]))
}

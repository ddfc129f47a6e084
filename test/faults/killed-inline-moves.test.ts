import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openBackends } from '../../src/backend/open.ts'
import { INLINE_BUCKET } from '../../src/model/location.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import { cleanUp } from '../support/cleanup.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { driftCount, findDrift, NO_DRIFT } from './drift.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { damaged, findHistories } from './versions/found.ts'

/** Out of the database and into it by turns. */
const ROUNDS = isFull ? 60 : 2
const OBJECTS = isFull ? 60 : 30
/** What was there before, under markers and in the trash, half of each. */
const FORMER = OBJECTS / 3

const seed = newSeed()
const random = new Random(seed)
const tally = new Tally('kill -9 while bytes go into the database and out of it')
let proxy: PostgresProxy
let server: TestServer
/** Where bytes are, and those in the database. */
let backend: InlineBackend
let env: Record<string, string>
const commands: Command[] = []
/** Where the command is called, which has no settings of its own. */
let folder: string

beforeAll(async () => {
  proxy = await openPostgresProxy()
  folder = await newFolder()
  let url = ''
  server = await startTestServer(
    { STORAGE_FSYNC: 'true' },
    {
      databaseUrl: (name) => {
        url = proxy.url(name)
        return url
      },
    },
  )
  backend = new InlineBackend(await openBackends(server.config), server.database)
  env = { DATABASE_URL: url, STORAGE_DATA_DIR: server.dataDir, STORAGE_LOG_LEVEL: 'silent' }
  await server.createBucket('b')
  await server.createBucket('kept')
  await server.createBucket('thrown-away')
  await server.admin`update storage.buckets set versioning_status = 'ENABLED' where id = 'kept'`
  await server.admin`update storage.buckets set trash_days = 7 where id = 'thrown-away'`
})
afterAll(async () => {
  tally.print()
  await removeFolder(folder, commands)
  await backend.close()
  await server.close()
  await proxy.close()
  expect([tally.lost, tally.leaked]).toEqual([0, 0])
})

async function countIn(place: 'in' | 'out'): Promise<number> {
  const [row] = await server.admin`
    select count(*) filter (where bytes_bucket = ${INLINE_BUCKET})::int as inside, count(*)::int as all
    from (
      select bytes_bucket from storage.objects
      union all select bytes_bucket from storage.object_versions where not is_delete_marker
    ) named`
  return place === 'in' ? row?.inside : row?.all - row?.inside
}

it(`a move that is killed goes on, and loses and leaves nothing (FAULTS_SEED=${seed})`, {
  timeout: isFull ? 3_600_000 : 300_000,
}, async () => {
  const expected = new Map(
    Array.from({ length: OBJECTS }, (_, n) => [`${n}`, randomBytes(2000).toString('hex')]),
  )
  const put = async (name: string, body: string) =>
    expect((await server.request('PUT', `/object/b/${name}`, { body })).ok).toBe(true)
  for (const [name, body] of expected) await put(name, body)
  for (let n = 0; n < FORMER; n++) {
    const path = `/object/${n % 2 === 0 ? 'kept' : 'thrown-away'}/${n}`
    expect((await server.request('PUT', path, { body: `former ${n}`.repeat(100) })).ok).toBe(true)
    expect((await server.request('DELETE', path)).ok).toBe(true)
  }
  const first = random.below(2)
  let killed = 0
  for (let round = 0; round < ROUNDS || killed === 0; round++) {
    const way = round % 2 === 0 ? 'out' : 'in'
    // Two rounds have one of each, and four each of them both ways.
    const isCut = (first + round + (round >> 1)) % 2 === 0
    const command = new Command(['inline', `--${way}`, '--rate', '100'], { cwd: folder, env })
    commands.push(command)
    const enough = 1 + random.below(OBJECTS + FORMER)
    // Killed, or cut from the database, as soon as so many are there; somebody replaces one meanwhile.
    await until(async () => !command.isRunning || (await countIn(way)) >= enough, 'some are moved')
    if (isCut) proxy.cutAll()
    else command.signal('SIGKILL')
    const ended = await command.ended
    if (ended.signal === 'SIGKILL') killed++
    tally.rounds++
    const name = `${random.below(OBJECTS)}`
    const body = randomBytes(2000).toString('hex')
    await until(
      () => server.request('GET', '/bucket').then((response) => response.ok),
      'the server works again',
    )
    await put(name, body)
    expected.set(name, body)
    await expectAll(expected)
    if (random.below(2) === 0) await cleanUp(server)
    // It goes on to its end, but for what has come into the database meanwhile.
    const again = await strongroom(['inline', `--${way}`, '--rate', '100000'], { cwd: folder, env })
    expect([again.code, again.stderr]).toEqual([0, ''])
    expect(await countIn(way)).toBe(OBJECTS + FORMER)
    await expectAll(expected)
    await cleanUp(server)
    const drift = await findDrift(server)
    tally.leaked += driftCount(drift)
    expect(drift).toEqual(NO_DRIFT)
  }
})

async function expectAll(expected: Map<string, string>): Promise<void> {
  const wrong: string[] = []
  for (const [name, body] of expected) {
    tally.acknowledged++
    const response = await server.request('GET', `/object/b/${name}`)
    if ((await response.text()) !== body) wrong.push(`${name}: ${response.status}`)
  }
  wrong.push(...(await damaged(await findHistories(server.admin), (at, size) => backend.readWhole(at, size))))
  tally.lost += wrong.length
  expect(wrong).toEqual([])
}

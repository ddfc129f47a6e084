import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeJwt, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { packageVersion } from '../../src/lib/package-version.ts'
import { loadKeys } from '../../src/server/keys.ts'
import { type Cluster, openCluster } from '../support/blank-database.ts'
import { newFolder, removeFolder, strongroom } from '../support/command.ts'

const SECRET = 'the login secret of the environment, long enough'

let cwd: string
beforeAll(async () => {
  cwd = await newFolder()
})
afterAll(() => removeFolder(cwd, []))

const run = (args: string[], env: Record<string, string> = {}) => strongroom(args, { cwd, env })

/** One line for a human: who speaks, what is wrong, no stack. */
function expectOneLine(stderr: string, pattern: RegExp): void {
  expect(stderr).toMatch(/^strongroom: [^\n]+\n$/)
  expect(stderr).toMatch(pattern)
  expect(stderr).not.toMatch(/\n {4}at |\.js:\d/)
}

// What neither finds nor leaves anything runs at once.
describe.concurrent('strongroom', () => {
  it('--help says what it is, which commands there are, and where to begin', async () => {
    const { code, stdout, stderr } = await run(['--help'])
    expect([code, stderr]).toEqual([0, ''])
    for (const word of [
      'storage server',
      'serve',
      'check',
      'migrate',
      'keys',
      'STORAGE_PORT',
      'DATABASE_URL',
      'Start here',
    ]) {
      expect(stdout).toContain(word)
    }
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100)
  })

  it.each(['serve', 'check', 'migrate', 'keys'])(
    '%s --help explains it, and does nothing',
    async (command) => {
      const { code, stdout } = await run([command, '--help'])
      expect([code, stdout]).toEqual([0, expect.stringContaining(`Usage: strongroom ${command}`)])
      await expect(stat(join(cwd, 'storage-data'))).rejects.toThrow('ENOENT')
    },
  )

  it('--version is that of the package', async () => {
    expect(await run(['--version'])).toMatchObject({ code: 0, stdout: `${packageVersion()}\n` })
  })

  it('alone shows the help, and fails', async () => {
    const { code, stderr } = await run([])
    expect([code, stderr]).toEqual([1, expect.stringContaining('Usage: strongroom')])
  })

  it.each<[args: string[], pattern: RegExp]>([
    [['sreve'], /unknown command 'sreve'.*see strongroom --help/],
    [['serve', '--port', '80'], /unknown option '--port'/],
    [['serve', 'now'], /too many arguments for 'serve'/],
    [['keys', '--role'], /option '--role <role>' argument missing/],
    [
      ['keys', '--role', 'anon', '--expires-in', 'soon'],
      /'--expires-in <duration>' argument 'soon' is invalid\. Use a duration such as 15m/,
    ],
    [['keys', '--role', 'anon', '--expires-in', '-5m'], /expires-in/],
    [['keys', '--role', 'anon', '--expires-in', '90'], /Use a duration such as 15m/],
    [
      ['keys', '--role', 'postgres'],
      /no token of role postgres, but of anon, authenticated, service_role; STORAGE_JWT_ROLES adds/,
    ],
    [['keys', '--subject', 'user-1'], /say its role with --role/],
    [['keys', '--expires-in', '15m'], /say its role with --role/],
    [['keys', '--role', 'anon', '--secrets'], /--secrets and --role do not go together/],
  ])('refuses %j in one line, and prints no key', async (args, pattern) => {
    const { code, stdout, stderr } = await run(args)
    expect([code, stdout]).toEqual([1, ''])
    expectOneLine(stderr, pattern)
  })

  it.each(['serve', 'migrate', 'keys', 'check'])(
    '%s tells all bad settings at once, a line each',
    async (command) => {
      const bad = { STORAGE_PORT: 'http', STORAGE_JWT_SECRET: 'short', STORAGE_PROT: '1' }
      const { code, stdout, stderr } = await run([command], bad)
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr.trimEnd().split('\n').sort()).toEqual([
        'strongroom: STORAGE_JWT_SECRET must have at least 32 characters',
        'strongroom: STORAGE_PORT must be a whole number from 0 to 65535',
        'strongroom: STORAGE_PROT is not a setting: STORAGE_PORT is',
      ])
    },
  )
})

describe('strongroom keys', () => {
  it('refuses where no server was ever started, and makes nothing', async () => {
    const ways = [['keys'], ['keys', '--secrets'], ['keys', '--role', 'anon']]
    for (const { code, stdout, stderr } of await Promise.all(ways.map((args) => run(args)))) {
      expect([code, stdout]).toEqual([1, ''])
      expectOneLine(stderr, /There are no keys in .*storage-data: run this where the server was started/)
    }
    await expect(stat(join(cwd, 'storage-data'))).rejects.toThrow('ENOENT')
  })

  it('prints the anon and the service key, and the pair for S3 clients, as JSON', async () => {
    const { anonKey, serviceKey, s3 } = await loadKeys(join(cwd, 'storage-data'), {}) // as a server does
    const first = await run(['keys'])
    expect([first.code, first.stderr]).toEqual([0, ''])
    const keys = JSON.parse(first.stdout)
    expect(Object.keys(keys)).toEqual(['anonKey', 'serviceKey', 's3'])
    expect([decodeJwt(keys.anonKey).role, decodeJwt(keys.serviceKey).role]).toEqual(['anon', 'service_role'])
    expect(keys).toEqual({ anonKey, serviceKey, s3 })
  })

  it.concurrent('prints the secrets only when they are asked for', async () => {
    const [asked, unasked] = await Promise.all([run(['keys', '--secrets']), run(['keys'])])
    const secret = JSON.parse(asked.stdout)
    expect(Object.keys(secret).sort()).toEqual(['anonKey', 'jwtSecret', 's3', 'serviceKey', 'signingSecret'])
    expect(unasked.stdout).not.toContain(secret.jwtSecret)
  })

  it.concurrent('mints a token of a role, for a subject, for a time', async () => {
    const { jwtSecret } = JSON.parse((await run(['keys', '--secrets'])).stdout)
    const { code, stdout } = await run([
      'keys',
      '--role',
      'authenticated',
      '--subject',
      'user-1',
      '--expires-in',
      '15m',
    ])
    expect([code, stdout.split('\n').length]).toEqual([0, 2])
    const { payload } = await jwtVerify(stdout.trim(), new TextEncoder().encode(jwtSecret))
    expect(payload).toMatchObject({ role: 'authenticated', sub: 'user-1' })
    expect(Number(payload.exp) - Number(payload.iat)).toBe(900)
  })

  it.concurrent('mints with the secret and for the roles of the environment', async () => {
    const env = { STORAGE_JWT_SECRET: SECRET, STORAGE_JWT_ROLES: 'editor' }
    const { stdout } = await run(['keys', '--role', 'editor'], env)
    const { payload } = await jwtVerify(stdout.trim(), new TextEncoder().encode(SECRET))
    expect(payload).toMatchObject({ role: 'editor' })
    expect(payload).not.toHaveProperty('exp')
  })

  it.concurrent('says in one line what is wrong with a damaged file', async () => {
    const folder = await newFolder()
    await writeFile(join(folder, 'keys.json'), '{')
    const { code, stderr } = await run(['keys'], { STORAGE_DATA_DIR: folder })
    await removeFolder(folder, [])
    expect(code).toBe(1)
    expectOneLine(stderr, /keys\.json is damaged\. Restore it from a backup, or delete it/)
  })
})

describe.concurrent('the .env file of the working folder', () => {
  let folder: string
  beforeAll(async () => {
    folder = await newFolder()
    const lines = [
      '# settings',
      `STORAGE_JWT_SECRET="${SECRET}"`,
      'STORAGE_DATA_DIR=./my data',
      'STORAGE_JWT_ROLES=',
    ]
    await writeFile(join(folder, '.env'), lines.join('\n'))
  })
  afterAll(() => removeFolder(folder, []))

  it('is read', async () => {
    const { stdout } = await strongroom(['keys', '--role', 'anon'], { cwd: folder })
    expect((await jwtVerify(stdout.trim(), new TextEncoder().encode(SECRET))).payload.role).toBe('anon')
    const { stderr } = await strongroom(['keys'], { cwd: folder, env: { STORAGE_JWT_SECRET: '' } })
    expect(stderr).toContain(`no keys in ${join(folder, 'my data')}`)
  })

  it('gives way to the environment', async () => {
    const env = { STORAGE_JWT_SECRET: SECRET.toUpperCase() }
    const { stdout } = await strongroom(['keys', '--role', 'anon'], { cwd: folder, env })
    const other = new TextEncoder().encode(SECRET.toUpperCase())
    expect((await jwtVerify(stdout.trim(), other)).payload.role).toBe('anon')
  })
})

describe.concurrent('strongroom migrate', () => {
  let cluster: Cluster
  beforeAll(() => {
    cluster = openCluster()
  })
  afterAll(() => cluster.close())

  /** The run's own PostgreSQL has a socket alone, which the driver takes from the environment. */
  const at = (database: string, login: string) => {
    const { host, port } = inject('postgres')
    return { DATABASE_URL: `postgres:///${database}`, PGHOST: host, PGPORT: String(port), PGUSER: login }
  }

  it('without DATABASE_URL has nothing to do, says so, and makes nothing', async () => {
    const folder = await newFolder()
    const { code, stdout } = await strongroom(['migrate'], { cwd: folder })
    expect([code, stdout]).toEqual([0, expect.stringContaining('strongroom serve')])
    await expect(stat(join(folder, 'storage-data'))).rejects.toThrow('ENOENT')
    await removeFolder(folder, [])
  })

  it('prepares the database, and finds it prepared the second time', async () => {
    const name = await cluster.newDatabase()
    const env = at(name, inject('postgres').superuser)
    expect(await run(['migrate'], env)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Applied \d+ migrations\.\n$/),
      stderr: '',
    })
    expect(await run(['migrate'], env)).toMatchObject({ code: 0, stdout: 'The database is up to date.\n' })
    expect(await cluster.open(name).sql`select count(*)::int as buckets from storage.buckets`).toEqual([
      { buckets: 0 },
    ])
  })

  it('runs functions whose text has changed since, and names their files', async () => {
    const { superuser, template } = inject('postgres')
    const name = await cluster.newDatabase(`template ${template}`)
    const env = at(name, superuser)
    const { sql } = cluster.open(name)
    await sql`update strongroom.function_texts set sha256 = 'another' where file in ('turns.sql', 'lists.sql')`
    const check = await run(['check'], env)
    expect(check.stdout).toMatch(/warning +database tables +not up to date, lists\.sql, turns\.sql to go: /)
    expect(await run(['migrate'], env)).toMatchObject({
      code: 0,
      stdout: 'Ran the functions of lists.sql, turns.sql.\n',
      stderr: '',
    })
    expect(await run(['migrate'], env)).toMatchObject({ code: 0, stdout: 'The database is up to date.\n' })
  })

  it('says in one line what a login lacks, and what to do', async () => {
    const [name, login] = [await cluster.newDatabase(), await cluster.newLogin()]
    const { code, stdout, stderr } = await run(['migrate'], at(name, login))
    expect([code, stdout]).toEqual([1, ''])
    expectOneLine(
      stderr,
      /cannot be migrated: the login .* may not create schemas.*Run `strongroom migrate` once with DATABASE_URL naming its owner/,
    )
  })

  it.each([
    ['nobody listens', 'postgres://user:hunter2@127.0.0.1:1/db', /ECONNREFUSED 127\.0\.0\.1:1/],
    ['there is no such database', undefined, /database "no_such_database" does not exist/],
  ])('says in one line that %s, without the password', async (_, url, pattern) => {
    const env =
      url === undefined ? at('no_such_database', inject('postgres').superuser) : { DATABASE_URL: url }
    const commands = ['migrate', 'serve'].map((command) => run([command], { ...env, STORAGE_PORT: '0' }))
    for (const { code, stdout, stderr } of await Promise.all(commands)) {
      expect([code, stdout]).toEqual([1, ''])
      expectOneLine(stderr, pattern)
      expect(stderr).not.toContain('hunter2')
    }
  })
})

import pino from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Database } from '../../../src/database/connection/client.ts'
import { StorageError } from '../../../src/model/errors.ts'
import { type CredentialRequest, Credentials } from '../../../src/storage/credentials/credentials.ts'
import { type S3Credential, S3Credentials } from '../../../src/storage/credentials/s3-credentials.ts'
import { SecretSeal } from '../../../src/storage/credentials/secret-seal.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'

const SIGNING = 'the signing secret of both servers, long enough'
const own = { accessKeyId: 'own', secretAccessKey: 'the secret of the first start, long enough' }
const SERVICE = { role: 'service_role' }
const REQUEST: CredentialRequest = {
  role: 'authenticated',
  subject: 'user-1',
  claims: { tenant: 'a' },
  description: '',
  expiresAt: null,
}

let made: TestDatabase
let credentials: Credentials
beforeAll(async () => {
  made = await createTestDatabase()
  credentials = new Credentials({ database: made.database, seal: new SecretSeal([SIGNING]) })
})
afterAll(() => made.drop())

/** A server as far as access keys go, and how often it has asked the database. */
class Server {
  asked = 0
  /** Waited for before each answer of the database. */
  gate: Promise<unknown> = Promise.resolve()
  readonly logs: string[] = []
  readonly #lookup: S3Credentials

  constructor({ signing = SIGNING, roles = ['anon', 'authenticated'] } = {}) {
    const read: Database['read'] = async (statement, values) => {
      this.asked++
      const rows = await made.database.read(statement, values)
      await this.gate
      return rows
    }
    this.#lookup = new S3Credentials({
      own,
      database: { read, transaction: made.database.transaction },
      seal: new SecretSeal([signing]),
      roles,
      logger: pino({}, { write: (line: string) => void this.logs.push(line) }),
    })
  }

  async find(accessKeyId: string): Promise<S3Credential | null> {
    return this.#lookup.find(accessKeyId)
  }

  onUse(accessKeyId: string): void {
    this.#lookup.onUse(accessKeyId)
  }
}

const stranger = (n: number) =>
  `SR${n.toString(2).padStart(18, '0').replaceAll('0', 'A').replaceAll('1', 'B')}`

let one: Server
let two: Server
beforeEach(() => {
  ;[one, two] = [new Server(), new Server()]
  // Both clocks, which a test sets forward.
  vi.useFakeTimers({ toFake: ['performance', 'Date'], now: Date.now() })
})
afterEach(() => vi.useRealTimers())

describe('an access key', () => {
  it('stands for whom it was made for, as a token would say it', async () => {
    const { accessKeyId, secretAccessKey: secret } = await credentials.create(SERVICE, REQUEST)
    const found = await one.find(accessKeyId)
    const claims = { tenant: 'a', role: 'authenticated', sub: 'user-1' }
    const identity = { role: 'authenticated', subject: 'user-1', claims, token: '', accessKey: accessKeyId }
    expect(found).toEqual({ secret, identity })
  })

  it('without a subject has none', async () => {
    const { accessKeyId } = await credentials.create(SERVICE, { ...REQUEST, subject: null, claims: {} })
    expect((await one.find(accessKeyId))?.identity).toEqual({
      role: 'authenticated',
      subject: null,
      claims: { role: 'authenticated' },
      token: '',
      accessKey: accessKeyId,
    })
  })

  it('of the first start is the service, and asks nobody', async () => {
    const found = await one.find('own')
    expect(found).toMatchObject({
      secret: own.secretAccessKey,
      identity: { role: 'service_role', subject: null, accessKey: 'own' },
    })
    expect(one.asked).toBe(0)
  })

  it('is asked for once a second, and is the same object as long as nothing changes', async () => {
    const { accessKeyId } = await credentials.create(SERVICE, REQUEST)
    const first = await one.find(accessKeyId)
    for (let i = 0; i < 100; i++) expect(await one.find(accessKeyId)).toBe(first)
    expect(one.asked).toBe(1)
    vi.advanceTimersByTime(1000)
    for (let i = 0; i < 100; i++) expect(await one.find(accessKeyId)).toBe(first)
    expect(one.asked).toBe(2)
  })

  it('that is revoked ends within a second on every server', async () => {
    const { accessKeyId } = await credentials.create(SERVICE, REQUEST)
    for (const server of [one, two]) expect(await server.find(accessKeyId)).not.toBeNull()
    await credentials.revoke(SERVICE, accessKeyId)
    vi.advanceTimersByTime(1000)
    for (const server of [one, two]) expect(await server.find(accessKeyId)).toBeNull()
  })

  it('that is revoked is not told from a look that has begun long before', async () => {
    const { accessKeyId } = await credentials.create(SERVICE, REQUEST)
    let open = () => {}
    one.gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const early = one.find(accessKeyId)
    await until(() => one.asked === 1, 'the database is asked')
    await credentials.revoke(SERVICE, accessKeyId)
    vi.advanceTimersByTime(1000)
    const late = one.find(accessKeyId)
    open()
    await early
    expect(await late).toBeNull()
  })

  it('that expires ends at that moment, and the refusal says so', async () => {
    const [{ now }] = await made.admin<[{ now: string }]>`select now()`
    const expiresAt = new Date(new Date(now).getTime() + 600)
    const { accessKeyId } = await credentials.create(SERVICE, { ...REQUEST, expiresAt })
    // Whatever this machine is busy with meanwhile.
    await one.find(accessKeyId).catch(() => {})
    await until(async () => {
      const [row] =
        await made.admin`select expires_at <= now() as over from storage.credentials where access_key_id = ${accessKeyId}`
      return row?.over === true
    }, 'it is over')
    vi.advanceTimersByTime(600) // less than what is remembered otherwise
    await expect(one.find(accessKeyId)).rejects.toMatchObject({ code: 'AccessKeyExpired', status: 403 })
  })

  it('whose role callers may not have any more is refused', async () => {
    const { accessKeyId } = await credentials.create(SERVICE, REQUEST)
    const strict = new Server({ roles: ['anon'] })
    await expect(strict.find(accessKeyId)).rejects.toMatchObject({ code: 'AccessDenied' })
  })

  it('does not open with the sealed secret of another row: it says so, and the log once', async () => {
    const [a, b] = [await credentials.create(SERVICE, REQUEST), await credentials.create(SERVICE, REQUEST)]
    await made.admin`
      update storage.credentials set sealed_secret = (
        select sealed_secret from storage.credentials where access_key_id = ${a.accessKeyId}
      ) where access_key_id = ${b.accessKeyId}`
    for (let second = 0; second < 3; second++) {
      await expect(one.find(b.accessKeyId)).rejects.toMatchObject({
        code: 'AccessKeyUnreadable',
        status: 403,
      })
      vi.advanceTimersByTime(1000)
    }
    expect(one.logs).toHaveLength(1)
    expect(one.logs[0]).toContain(b.accessKeyId)
    expect(one.logs[0]).not.toContain(a.secretAccessKey)
  })

  it('that was sealed with another secret says what to set, and opens where that is the previous one', async () => {
    const { accessKeyId, secretAccessKey } = await credentials.create(SERVICE, REQUEST)
    const elsewhere = new Server({ signing: 'another signing secret, of another server' })
    await expect(elsewhere.find(accessKeyId)).rejects.toThrow(/STORAGE_SIGNING_SECRET_PREVIOUS/)

    const rotated = new SecretSeal(['the next signing secret, for both servers', SIGNING])
    const after = new Credentials({ database: made.database, seal: rotated })
    expect(await after.get(SERVICE, accessKeyId)).toMatchObject({ sealedUnder: 'previous' })
    const { resealed } = await after.reseal(SERVICE)
    expect(resealed).toBeGreaterThan(0)
    expect((await after.reseal(SERVICE)).resealed).toBe(0)
    expect(await after.get(SERVICE, accessKeyId)).toMatchObject({ sealedUnder: 'current' })
    const next = new Server({ signing: 'the next signing secret, for both servers' })
    expect((await next.find(accessKeyId))?.secret).toBe(secretAccessKey)
    await made.admin`delete from storage.credentials`
  })

  it('notes its use once a minute, and not on the way', async () => {
    const { accessKeyId } = await credentials.create(SERVICE, REQUEST)
    const used = async () => (await credentials.get(SERVICE, accessKeyId)).lastUsedAt
    expect(await used()).toBeNull()
    one.onUse(accessKeyId)
    await until(async () => (await used()) !== null, 'the use is noted')
    const first = await used()
    one.onUse(accessKeyId)
    two.onUse(accessKeyId)
    // Behind whatever they have sent.
    for (let i = 0; i < 20; i++) expect(await used()).toEqual(first)

    await made.admin`
      update storage.credentials set last_used_at = now() - interval '2 minutes' where access_key_id = ${accessKeyId}`
    vi.advanceTimersByTime(60_001)
    one.onUse(accessKeyId)
    await until(async () => Number(await used()) >= Number(first), 'the next use is noted')
  })
})

describe('strangers', () => {
  it('that do not look like one of ours are asked for nowhere', async () => {
    for (const id of ['', 'x', 'AKIAIOSFODNN7EXAMPLE', 'sr'.repeat(10), `${stranger(1)}A`, 'ö', '\0']) {
      expect(await one.find(id)).toBeNull()
      one.onUse(id)
    }
    expect(one.asked).toBe(0)
  })

  it('are asked for once a second each, and a crowd of the same together once', async () => {
    const crowd = await Promise.all(Array.from({ length: 500 }, () => one.find(stranger(1))))
    expect(crowd.every((found) => found === null)).toBe(true)
    for (let i = 0; i < 100; i++) expect(await one.find(stranger(1))).toBeNull()
    expect(one.asked).toBe(1)
    vi.advanceTimersByTime(1001)
    expect(await one.find(stranger(1))).toBeNull()
    expect(one.asked).toBe(2)
  })

  it('in great number are asked for a few at a time, and those who have a key do not wait behind them', async () => {
    const { accessKeyId } = await credentials.create(SERVICE, REQUEST)
    await one.find(accessKeyId)
    vi.advanceTimersByTime(1000)
    let open = () => {}
    one.gate = new Promise<void>((resolve) => {
      open = resolve
    })
    one.asked = 0
    const crowd = Array.from({ length: 1000 }, (_, n) => one.find(stranger(n)))
    await until(() => one.asked > 0, 'the first are asked for')
    const most = one.asked
    const known = one.find(accessKeyId)
    expect(one.asked).toBe(most + 1)
    expect(most).toBeLessThanOrEqual(4)
    open()
    expect(await known).not.toBeNull()
    expect((await Promise.all(crowd)).every((found) => found === null)).toBe(true)
  })
})

it('a database that is away is 503, and no refusal; what was known a moment ago still holds', async () => {
  const { accessKeyId } = await credentials.create(SERVICE, REQUEST)
  await one.find(accessKeyId)
  one.gate = Promise.reject(new StorageError('DatabaseUnavailable'))
  one.gate.catch(() => {})
  expect(await one.find(accessKeyId)).not.toBeNull()
  vi.advanceTimersByTime(1000)
  await expect(one.find(accessKeyId)).rejects.toMatchObject({ code: 'DatabaseUnavailable', status: 503 })
  await expect(one.find(stranger(7))).rejects.toMatchObject({ status: 503 })
  one.gate = Promise.resolve()
  expect(await one.find(accessKeyId)).not.toBeNull()
  expect(await one.find(stranger(7))).toBeNull()
})

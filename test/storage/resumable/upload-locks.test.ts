import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Database } from '../../../src/database/connection/client.ts'
import type { TakenUpload } from '../../../src/database/queries/resumable-uploads.ts'
import { ServingSession } from '../../../src/database/queries/serving-session.ts'
import { UploadLocks } from '../../../src/storage/resumable/upload-locks.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'

/** What one server has of it. */
class Server {
  readonly database: Database
  readonly session: ServingSession
  readonly locks: UploadLocks

  /** @param waitMs so patient are its requests: more than real ones, however busy the machine is */
  constructor(test: TestDatabase, waitMs = 60_000) {
    this.database = test.connect()
    this.session = new ServingSession(this.database)
    const logger = pino({ level: 'silent' })
    this.locks = new UploadLocks({ database: this.database, session: this.session, logger, waitMs })
  }

  take(id: string, gone = new AbortController().signal) {
    return this.locks.acquire(id, 60_000, gone)
  }

  async close(): Promise<void> {
    await this.session.close()
    await this.database.close()
  }
}

let test: TestDatabase
let here: Server
let there: Server
let id: string
beforeEach(async () => {
  test = await createTestDatabase()
  here = new Server(test)
  there = new Server(test)
  id = randomUUID()
  await test.admin`
    insert into storage.resumable_uploads (id, bucket_uid, bucket_id, name, owner_role, is_signed, content, expires_at)
    values (${id}, ${randomUUID()}, 'box', 'a', 'anon', false, '{}', now() + interval '1 hour')`
  await test.admin`
    insert into storage.uploads (version, bucket_uid, bucket_id, name) values (${id}, ${randomUUID()}, 'box', 'a')`
})
afterEach(async () => {
  await Promise.all([here.close(), there.close()])
  await test.drop()
})

/** How many turns all sessions of this database have. */
const held = async () => Number((await test.admin`select count(*) from strongroom.turns`)[0]?.count)

describe.each(['the same server', 'another server'])('a request on %s', (where) => {
  const other = () => (where === 'the same server' ? here : there)

  it('displaces the one that has the upload, and gets it when that has ended', async () => {
    const first = await here.take(id)
    let isTaken = false
    const taking = other()
      .take(id)
      .then((lock) => {
        isTaken = true
        return lock
      })
    await until(() => first.signal.aborted, 'the first is asked to let go')
    expect(first.signal.reason).toMatchObject({ code: 'ResourceLocked' })
    expect(isTaken).toBe(false) // it may have bytes to keep
    await first.release()
    const second = await taking
    expect([second.signal.aborted, await held()]).toEqual([false, 1])
    await second.release()
    expect(await held()).toBe(0)
  })

  it('waits no longer when its client has gone', async () => {
    const first = await here.take(id)
    const gone = new AbortController()
    const taking = other().take(id, gone.signal)
    await until(() => first.signal.aborted, 'it waits')
    gone.abort()
    await expect(taking).rejects.toMatchObject({ code: 'LockTimeout' })
    await first.release()
    expect(await held()).toBe(0)
  })

  it('is not displaced by its own wish, while its server looks for those of others', async () => {
    const looking = await other().take(randomUUID())
    const first = await here.take(id)
    const taking = other().take(id)
    await until(() => first.signal.aborted, 'the first is asked to let go')
    const wanted = vi.spyOn(other().database, 'run')
    const looks = () => wanted.mock.calls.filter(([, values]) => 'ids' in values).length
    await until(() => looks() >= 2, 'it has looked')
    await first.release()
    await (await taking).release()
    await looking.release()
  })

  it('has another upload at once', async () => {
    const first = await here.take(id)
    const second = await other().take(randomUUID())
    expect([first.signal.aborted, second.signal.aborted]).toEqual([false, false])
    await Promise.all([first.release(), second.release()])
  })
})

it.each(['the same server', 'another server'])(
  'a request on %s is told to come again when the one that has the upload does not end',
  async (where) => {
    const hasty = new Server(test, 1)
    try {
      const first = await (where === 'the same server' ? hasty : here).take(id)
      await expect(hasty.take(id)).rejects.toMatchObject({
        code: 'LockTimeout',
        message: 'acquiring lock timeout',
      })
      await first.release()
      await (await hasty.take(id)).release()
      expect(await held()).toBe(0)
    } finally {
      await hasty.close()
    }
  },
)

describe('a server with as many uploads as it can have', () => {
  it('is told so at once, and has room again when one has ended', async () => {
    const options = { database: here.database, session: here.session, logger: pino({ level: 'silent' }) }
    const locks = new UploadLocks({ ...options, most: 2 })
    const take = (id: string = randomUUID()) => locks.acquire(id, 60_000, new AbortController().signal)
    const first = await take(id)
    const second = await take()
    await expect(take()).rejects.toMatchObject({ code: 'TooManyUploads', headers: { 'Retry-After': '2' } })
    const successor = take(id) // of one that it has
    await until(() => first.signal.aborted, 'it is asked to let go')
    await first.release()
    await (await successor).release()
    await (await take()).release()
    await second.release()
  })
})

describe('an upload that its request has left for the next one', () => {
  /** A request that leaves it, as it had it. */
  async function leave(): Promise<TakenUpload> {
    const { taken, release } = await here.take(id)
    if (!taken) throw new Error('the upload has ended')
    const left = { ...taken, length: 300, progress: { offset: 200, notes: 'a note' } }
    await release(left)
    return left
  }

  it('is what the next request of this server gets, without asking the database', async () => {
    const left = await leave()
    const asked = vi.spyOn(here.session, 'get')
    const next = await here.take(id)
    expect([next.taken, next.signal.aborted, asked.mock.calls.length]).toEqual([left, false, 0])
    await next.release()
    expect(await held()).toBe(0)
    const { taken, release } = await here.take(id)
    expect(taken).toMatchObject({ attempt: left.attempt + 1, progress: { offset: 0 } }) // as its row says
    await release()
  })

  it('is given back when no request comes', async () => {
    await leave()
    await until(async () => (await held()) === 0, 'it is given back')
  })

  it('is taken by a request that only looks, and given back by it', async () => {
    await leave()
    const looking = await here.locks.acquire(id, null, new AbortController().signal)
    expect([looking.taken, await held()]).toEqual([null, 1])
    await looking.release()
    expect(await held()).toBe(0)
  })

  it('is had by another server soon, also while requests follow each other here', async () => {
    await leave()
    await (await there.take(id)).release()
    let isTaken = false
    const taking = there.take(id).then((lock) => {
      isTaken = true
      return lock.release()
    })
    let attempts = 0
    for (; !isTaken; attempts++) {
      const lock = await here.take(id).catch(() => undefined) // displaced while it waited
      await test.admin`select pg_sleep(0.005)`
      await lock?.release(lock.taken ?? undefined)
    }
    await taking
    expect(attempts).toBeGreaterThan(0)
  })

  it('is given back at once when somebody waits for it, or the server shuts down', async () => {
    const first = await here.take(id)
    const next = here.take(id)
    await until(() => first.signal.aborted, 'somebody waits')
    await first.release(first.taken ?? undefined)
    const second = await next
    expect(second.taken?.attempt).toBe(Number(first.taken?.attempt) + 1)
    await second.release(second.taken ?? undefined)
    vi.useFakeTimers({ toFake: ['setTimeout'] }) // or it would be given back by itself
    try {
      await leave()
      expect(await held()).toBe(1)
      here.locks.close()
    } finally {
      vi.useRealTimers()
    }
    await until(async () => (await held()) === 0, 'it is given back')
  })

  it('is not had after the connection to the database was lost', async () => {
    const another = await here.take(randomUUID())
    const left = await leave()
    await test.admin`select pg_terminate_backend(pid) from strongroom.turns`
    await until(() => another.signal.aborted, 'that is known')
    const next = await here.take(id)
    expect(next.taken?.attempt).toBe(left.attempt + 1)
    await next.release()
  })
})

describe('many requests for one upload', () => {
  it('have it one after the other, whichever server they are on', async () => {
    let running = 0
    let most = 0
    const work = async (server: Server) => {
      const lock = await server.take(id).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'LockTimeout' }) // displaced while it waited
        return null
      })
      if (!lock) return
      most = Math.max(most, ++running)
      await server.database.sql`select pg_sleep(0.01)`
      running--
      await lock.release()
    }
    await Promise.all(Array.from({ length: 12 }, (_, i) => work(i % 2 ? here : there)))
    expect([most, running, await held()]).toEqual([1, 0, 0])
  })
})

describe('a server that loses its connection to the database', () => {
  it('ends its requests, and another server has their uploads at once', async () => {
    const first = await here.take(id)
    await test.admin`select pg_terminate_backend(pid) from strongroom.turns`
    await until(() => first.signal.aborted, 'the request is told')
    expect(first.signal.reason).toMatchObject({ code: 'DatabaseUnavailable' })
    const second = await there.take(id)
    await first.release()
    expect(second.signal.aborted).toBe(false)
    await second.release()
    await (await here.take(id)).release() // on a new connection
    expect(await held()).toBe(0)
  })
})

describe('a server that shuts down', () => {
  it('ends the requests that it has, and those that still come', async () => {
    const first = await here.take(id)
    here.locks.close()
    expect(first.signal.reason).toMatchObject({ code: 'ShuttingDown' })
    await first.release()
    const late = await here.take(id)
    expect(late.signal.aborted).toBe(true)
    await late.release()
  })
})

import { pino } from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openBackends } from '../../../src/backend/open.ts'
import type { Database } from '../../../src/database/connection/client.ts'
import type { Transaction } from '../../../src/database/connection/drizzle.ts'
import { copyInlineBytes } from '../../../src/database/queries/inline-bytes.ts'
import type { Caller } from '../../../src/model/caller.ts'
import { INLINE_BUCKET } from '../../../src/model/location.ts'
import { newVersion } from '../../../src/model/version.ts'
import { rename } from '../../../src/storage/writing/renaming.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { VersionSteps } from '../../support/version-steps.ts'

let server: TestServer
let steps: VersionSteps
beforeAll(async () => {
  server = await startTestServer()
  steps = new VersionSteps(server)
})
afterAll(() => server.close())

const SERVICE: Caller = {
  role: 'service_role',
  subject: null,
  claims: { role: 'service_role' },
  token: '',
  operation: 'storage.object.move',
  method: 'POST',
  path: '/',
  headers: {},
  userBuckets: false,
}

it('gives what has come behind its look at the object no copy of the bytes that were there before', async () => {
  const bucket = await steps.newBucket()
  const [of = ''] = await steps.uploaded('a', 'one')
  await steps.json('DELETE', `/object/${bucket}/a`)
  const at = { bucket: INLINE_BUCKET, version: newVersion() }
  const backend = await openBackends(server.config)
  try {
    const renamed = rename(
      {
        database: afterLook(server.database, () => steps.uploaded('a', 'two')),
        backend,
        logger: pino({ level: 'silent' }),
        invalidate: async () => {},
      },
      SERVICE,
      { bucketId: bucket, name: 'a' },
      { bucketId: bucket, name: 'b' },
      {},
      { at, of, store: (tx) => copyInlineBytes(tx, of, at.version) },
    )
    await expect(renamed).rejects.toMatchObject({ code: 'MissingBytes' })
  } finally {
    await backend.close()
  }
  expect([await steps.now('a'), await steps.now('b')]).toEqual(['two', 404])
})

/** The same database, in which something happens once, behind the first look at an object. */
function afterLook(database: Database, happens: () => Promise<unknown>): Database {
  let hasHappened = false
  const run = async (tx: Transaction, ...asked: Parameters<Transaction['run']>) => {
    const rows = await tx.run(...asked)
    if (!hasHappened && 'bucketId' in asked[1]) {
      hasHappened = true
      await happens()
    }
    return rows
  }
  const watched = (tx: Transaction) =>
    new Proxy(tx, {
      get(target, name) {
        if (name === 'run') return (...asked: Parameters<Transaction['run']>) => run(target, ...asked)
        const member = Reflect.get(target, name)
        return typeof member === 'function' ? member.bind(target) : member
      },
    })
  return new Proxy(database, {
    get(target, name) {
      if (name === 'transaction')
        return (work: (tx: Transaction) => Promise<unknown>) => target.transaction((tx) => work(watched(tx)))
      const member = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

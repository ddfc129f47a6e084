/**
 * The least that an upload under row-level security can be: the database's part alone, a Drizzle transaction with
 * the role, the claims and the insert, each prepared.
 */

import { randomUUID } from 'node:crypto'
import { type SQL, sql } from 'drizzle-orm'
import { PgDialect } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from '#postgres'
import type { Transaction } from '../../../src/database/connection/statement.ts'
import { objects } from '../../../src/database/schema.ts'
import type { SystemMetadata } from '../../../src/model/metadata.ts'
import type { DatabaseAddress } from '../strongroom.ts'
import { answerWithRate, argument, tell } from './child.ts'

const { database, connections, bucket, subject, metadata } = argument<{
  database: DatabaseAddress
  connections: number
  bucket: string
  subject: string
  metadata: SystemMetadata
}>()
const db = drizzle(
  postgres({ ...database, username: 'strongroom_server', pass: '', max: connections, onnotice: () => {} }),
)
const dialect = new PgDialect()
const claims = JSON.stringify({ role: 'authenticated', sub: subject })

async function insert() {
  await db.transaction(async (tx) => {
    await prepared(
      tx as unknown as Transaction, // the same, with other unused schema parameters
      'become',
      sql`select set_config('role', 'authenticated', true), set_config('request.jwt.claims', ${claims}, true)`,
    )
    const version = randomUUID()
    await tx
      .insert(objects)
      .values({
        id: randomUUID(),
        bucketId: bucket,
        name: `reference/${version}`,
        version,
        owner: subject,
        ownerId: subject,
        metadata,
        userMetadata: {},
        bytesBucket: version,
        checksum: '0'.repeat(64),
      })
      .prepare('insert')
      .execute()
  })
}

/** Drizzle prepares only when asked, and has no public way to ask for raw SQL. */
function prepared(tx: Transaction, name: string, query: SQL): Promise<unknown> {
  const { session } = (tx as unknown as WithSession)._
  return session.prepareQuery(dialect.sqlToQuery(query), undefined, name, false).execute()
}

interface WithSession {
  _: {
    session: {
      prepareQuery(
        query: unknown,
        fields: undefined,
        name: string,
        arrayMode: boolean,
      ): { execute(): Promise<unknown> }
    }
  }
}

await insert()
answerWithRate(insert)
tell('ready')

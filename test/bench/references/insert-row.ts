/**
 * The least that an upload under row-level security can be: the database's part alone, a Drizzle transaction with
 * the role, the claims and the insert, each prepared. And the same with the bytes, in a table beside it.
 */

import { randomUUID } from 'node:crypto'
import { customType, pgTable, uuid } from 'drizzle-orm/pg-core'
import postgres from '#postgres'
import { Pool } from '../../../src/database/connection/pool.ts'
import { VALUE_TYPES } from '../../../src/database/connection/row-values.ts'
import { Statement } from '../../../src/database/connection/statement.ts'
import { objects } from '../../../src/database/schema.ts'
import type { SystemMetadata } from '../../../src/model/metadata.ts'
import type { DatabaseAddress } from '../strongroom.ts'
import { answerWithRate, argument, tell } from './child.ts'

const { database, connections, bucket, subject, metadata, bytes } = argument<{
  database: DatabaseAddress
  connections: number
  bucket: string
  subject: string
  metadata: SystemMetadata
  /** If bytes go along: into which table, and how many. */
  bytes?: { table: string; size: number }
}>()
const pool = new Pool(
  postgres({
    ...database,
    username: 'strongroom_server',
    pass: '',
    max: connections,
    onnotice: () => {},
    types: VALUE_TYPES,
  }),
)
const claims = JSON.stringify({ role: 'authenticated', sub: subject })

const BECOME = new Statement<{ claims: string }, object>(
  `select set_config('role', 'authenticated', true), set_config('request.jwt.claims', :claims, true)`,
)

const body = bytes && {
  table: pgTable(bytes.table, {
    version: uuid().primaryKey(),
    bytes: customType<{ data: Uint8Array }>({ dataType: () => 'bytea' })().notNull(),
  }),
  bytes: Buffer.alloc(bytes.size, 'x'),
}

async function insert() {
  await pool.transaction(async (tx) => {
    await tx.run(BECOME, { claims })
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
    if (body) {
      await tx.insert(body.table).values({ version, bytes: body.bytes }).prepare('insert_bytes').execute()
    }
  })
}

await insert()
answerWithRate(insert)
tell('ready')

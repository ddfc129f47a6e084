import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOr1970, dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/** One row of `storage.credentials`, with its secret as it is sealed. */
export interface CredentialRow extends NewCredentialRow {
  createdAt: Date
  /** To the minute. */
  lastUsedAt: Date | null
}

export interface NewCredentialRow {
  accessKeyId: string
  sealedSecret: string
  role: string
  subject: string | null
  /** Those besides role and sub. */
  claims: Record<string, unknown>
  description: string
  expiresAt: Date | null
}

/** What a verifier has to know of an access key. */
export interface FoundCredential
  extends Pick<NewCredentialRow, 'sealedSecret' | 'role' | 'subject' | 'claims'> {
  /** By the database's clock, in milliseconds: negative when it is over, null when it has no end. */
  lifetimeMs: number | null
}

/** In one round trip. @throws DatabaseUnavailable */
export async function findCredential(
  database: Pick<Database, 'read'>,
  accessKeyId: string,
): Promise<FoundCredential | null> {
  const [row] = await database.read(FIND, { accessKeyId })
  if (!row) return null
  const { sealed_secret: sealedSecret, lifetime_ms: lifetimeMs, ...rest } = row
  return { ...rest, sealedSecret, lifetimeMs }
}

const FIND = new Statement<
  { accessKeyId: string },
  {
    sealed_secret: string
    role: string
    subject: string | null
    claims: Record<string, unknown>
    lifetime_ms: number | null
  }
>('select * from storage.find_credential(:accessKeyId)')

/** What the database says of a role that somebody wants to give a key to. */
export interface RoleFacts {
  /** Whom no policy binds. */
  isSuperuser: boolean
  /** Whether the server may become it. */
  isOurs: boolean
}

/** Null when there is no such role. */
export async function findRole(tx: Transaction, role: string): Promise<RoleFacts | null> {
  const [row] = await tx.run(FIND_ROLE, { role })
  return row ?? null
}

const FIND_ROLE = new Statement<{ role: string }, RoleFacts>(`
  select rolsuper as "isSuperuser", pg_has_role(session_user, oid, 'member') as "isOurs"
  from pg_roles where rolname = :role`)

export async function insertCredential(tx: Transaction, row: NewCredentialRow): Promise<CredentialRow> {
  const [made] = await tx.run(INSERT, {
    ...row,
    claims: JSON.stringify(row.claims),
    expiresAt: row.expiresAt?.toISOString() ?? null,
  })
  if (!made) throw new Error('an insert returned no row')
  return fromRow(made)
}

const COLUMNS =
  'access_key_id, sealed_secret, role, subject, claims, description, expires_at, created_at, last_used_at'

const INSERT = new Statement<
  Omit<NewCredentialRow, 'claims' | 'expiresAt'> & { claims: string; expiresAt: string | null },
  Row
>(`
  insert into storage.credentials (access_key_id, sealed_secret, role, subject, claims, description, expires_at)
  values (:accessKeyId, :sealedSecret, :role, :subject, :claims, :description, :expiresAt) returning ${COLUMNS}`)

/** By access key; at most `limit`, those after one of them. */
export async function listCredentials(
  tx: Transaction,
  page: { after: string; limit: number },
): Promise<CredentialRow[]> {
  return (await tx.run(LIST, page)).map(fromRow)
}

const LIST = new Statement<{ after: string; limit: number }, Row>(`
  select ${COLUMNS} from storage.credentials where access_key_id > :after order by access_key_id limit :limit`)

export async function getCredential(tx: Transaction, accessKeyId: string): Promise<CredentialRow | null> {
  const [row] = await tx.run(GET, { accessKeyId })
  return row ? fromRow(row) : null
}

const GET = new Statement<{ accessKeyId: string }, Row>(
  `select ${COLUMNS} from storage.credentials where access_key_id = :accessKeyId`,
)

/** Returns whether there was one. */
export async function deleteCredential(tx: Transaction, accessKeyId: string): Promise<boolean> {
  return (await tx.run(DELETE, { accessKeyId })).count > 0
}

const DELETE = new Statement<{ accessKeyId: string }, never>(
  'delete from storage.credentials where access_key_id = :accessKeyId',
)

/** Puts another text in the place of one, unless it has changed meanwhile. Returns whether it did. */
export async function resealCredential(
  tx: Transaction,
  change: { accessKeyId: string; sealedSecret: string; before: string },
): Promise<boolean> {
  return (await tx.run(RESEAL, change)).count > 0
}

const RESEAL = new Statement<{ accessKeyId: string; sealedSecret: string; before: string }, never>(`
  update storage.credentials set sealed_secret = :sealedSecret
  where access_key_id = :accessKeyId and sealed_secret = :before`)

/** Notes that it was used just now, unless that was noted less than a minute ago. */
export async function touchCredential(tx: Transaction, accessKeyId: string): Promise<void> {
  await tx.run(TOUCH, { accessKeyId })
}

const TOUCH = new Statement<{ accessKeyId: string }, never>(`
  update storage.credentials set last_used_at = now()
  where access_key_id = :accessKeyId and coalesce(last_used_at < now() - interval '1 minute', true)`)

interface Row {
  access_key_id: string
  sealed_secret: string
  role: string
  subject: string | null
  claims: Record<string, unknown>
  description: string
  expires_at: string | null
  created_at: string
  last_used_at: string | null
}

function fromRow(row: Row): CredentialRow {
  return {
    accessKeyId: row.access_key_id,
    sealedSecret: row.sealed_secret,
    role: row.role,
    subject: row.subject,
    claims: row.claims,
    description: row.description,
    expiresAt: row.expires_at === null ? null : dateOrNull(row.expires_at),
    createdAt: dateOr1970(row.created_at),
    lastUsedAt: dateOrNull(row.last_used_at),
  }
}

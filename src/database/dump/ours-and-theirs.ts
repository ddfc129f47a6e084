import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type postgres from '#postgres'
import { FOLDER } from '../migrations/schema-version.ts'

/** Names of our policies, as a pattern of LIKE. */
export const OUR_POLICIES = 'strongroom: %'

/** What lets callers at objects and buckets, as the migrations make them. */
export const CALLERS_POLICIES = [
  ...[
    'anyone reads public buckets',
    'the signed-in read',
    'the signed-in upload',
    'uploaders and owners overwrite',
    'uploaders and owners delete',
  ].map((name) => ({ table: 'objects', name: `strongroom: ${name}` })),
  ...[
    'anyone sees public buckets',
    'the signed-in see their buckets',
    'owners change buckets',
    'owners delete buckets',
    'users may create buckets',
  ].map((name) => ({ table: 'buckets', name: `strongroom: ${name}` })),
]

/** Schemas of users', and `storage`, in which theirs are told by name. */
export function isUsers(tx: postgres.TransactionSql, column: string) {
  return tx.unsafe(`${column} !~ '^pg_' and ${column} not in ('information_schema', 'strongroom')`)
}

/** What an extension has made comes with it. */
export function isOfNoExtension(tx: postgres.TransactionSql, catalog: string, oid: string) {
  return tx.unsafe(
    `not exists (select from pg_depend e where e.classid = '${catalog}'::regclass and e.objid = ${oid} and e.deptype = 'e')`,
  )
}

export function ourFunctions(): string[] {
  return namesIn(/function storage\.(\w+)/g)
}

/** As patterns of LIKE: some are composed. */
export function ourIndexes(): string[] {
  return namesIn(/index (?:if not exists )?([\w%]+)\s+on storage\./g).map((name) =>
    name.replaceAll(/%\w(?=_|$)/g, '%'),
  )
}

/** Names in all that we have ever made. */
function namesIn(pattern: RegExp): string[] {
  const files = [FOLDER, join(FOLDER, 'functions')].flatMap((folder) =>
    readdirSync(folder).flatMap((name) => (name.endsWith('.sql') ? [join(folder, name)] : [])),
  )
  return files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(pattern)].map(([, name]) => String(name)),
  )
}

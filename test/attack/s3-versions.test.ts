import { randomUUID } from 'node:crypto'
import {
  DeleteObjectsCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/* What versions let an attacker try by S3: histories without end, lists of them, and deletions of a thousand at once. */

const MARKERS = isFull ? 5400 : 3000
/** One in six is a name's only one, and all others are one name's. */
const NAMES = MARKERS / 6

let server: S3TestServer
let attacker: S3Client
const Bucket = 'history'
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket(Bucket, { policy: 'authenticated', versioning_status: 'ENABLED' })
  const subject = randomUUID()
  attacker = server.client(await server.session(subject))
  await server.admin`
    insert into storage.object_versions (
      kind, bucket_id, name, object_id, version, version_number, is_versioned, owner_id, valid_from, archived_at)
    select 'delete_marker', ${Bucket}, case when n % 6 = 0 then 'many/' || n else 'one' end, gen_random_uuid(),
      gen_random_uuid()::text, n, true, ${subject}, now(), now()
    from generate_series(1, ${MARKERS}::integer) n`
  await server.admin`analyze storage.object_versions`
})
afterAll(() => server.close())

/** How many versions a walk over all pages has seen, and the most that were on one. */
async function walk(
  input: { Delimiter?: string; MaxKeys?: number },
  client = attacker,
): Promise<[all: number, most: number]> {
  let [all, most] = [0, 0]
  let page: ListObjectVersionsCommandOutput | undefined
  do {
    const next = page && { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
    page = await client.send(new ListObjectVersionsCommand({ Bucket, ...input, ...next }))
    const { DeleteMarkers = [], CommonPrefixes = [] } = page
    all += DeleteMarkers.length + CommonPrefixes.length
    most = Math.max(most, DeleteMarkers.length + CommonPrefixes.length)
  } while (page.IsTruncated)
  return [all, most]
}

describe('an innocent client does not notice', () => {
  it('lists of a history without end, several at once: pages are bounded', async () => {
    const { result } = await besideInnocent(server, () =>
      // Policies are asked about each row: who has many has them in pages.
      Promise.all([
        walk({ MaxKeys: 1_000_000 }, server.s3),
        walk({ MaxKeys: 100 }),
        walk({ MaxKeys: 100, Delimiter: '/' }),
        walk({ MaxKeys: 100, Delimiter: 'e' }),
      ]),
    )
    expect(result).toEqual([
      [MARKERS, 1000],
      [MARKERS, 100],
      [MARKERS - NAMES + 1, 100],
      [NAMES + 1, 100],
    ])
  })

  it('thousands of versions deleted at once: each goes, garbage is refused', async () => {
    const rows = await server.admin<{ name: string; version: string }[]>`
      select name, version from storage.object_versions where bucket_id = ${Bucket} order by sequence limit 2000`
    const entries = rows.map(({ name, version }) => ({ Key: name, VersionId: version }))
    const halves = [entries.slice(0, 1000), entries.slice(500, 1500)]
    const garbage = Array.from({ length: 1000 }, (_, n) => ({ Key: `${n}`, VersionId: `garbage-${n}` }))
    const { result } = await besideInnocent(server, () =>
      Promise.all(
        [...halves, garbage].map(async (Objects) => {
          const { Deleted = [], Errors = [] } = await attacker.send(
            new DeleteObjectsCommand({ Bucket, Delete: { Objects } }),
          )
          return [Deleted.length, Errors.length]
        }),
      ),
    )
    expect(result).toEqual([
      [1000, 0],
      [1000, 0],
      [0, 1000],
    ])
    const [left] = await server.admin`
      select count(*)::int as count from storage.object_versions where bucket_id = ${Bucket}`
    expect(left?.count).toBe(MARKERS - 1500)
  })
})

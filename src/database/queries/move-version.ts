import { asUuid } from '../../lib/uuid.ts'
import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'

/**
 * Gives one version of a name to another name, which no object may have; the one before moves up, if it was what the name has now.
 *
 * @returns what that has made superfluous; `kept` when the caller may not move it, and null when there is none, or the caller may
 *   not see it
 * @throws ResourceAlreadyExists, AccessDenied, BucketReference, ObjectLocked, and what a trigger says
 */
export async function moveVersionRow(
  database: Database,
  caller: Caller,
  from: { bucketId: string; name: string },
  version: string,
  to: { bucketId: string; name: string },
): Promise<{ removals: Location[] } | 'kept' | null> {
  const [row, ...more] = await database.run(MOVE_VERSION, {
    ...from,
    version,
    toBucketId: to.bucketId,
    toName: to.name,
    owner: asUuid(caller.subject),
    ownerId: caller.subject,
    context: callerContext(caller),
  })
  if (!row) return null
  if (row.outcome === 'there') return 'kept'
  return { removals: more.map((one) => ({ bucket: one.bytes_bucket ?? '', version: one.version ?? '' })) }
}

const MOVE_VERSION = new Statement<
  {
    bucketId: string
    name: string
    version: string
    toBucketId: string
    toName: string
    owner: string | null
    ownerId: string | null
    context: string
  },
  { outcome: 'moved' | 'there' | 'removal'; version: string | null; bytes_bucket: string | null }
>(
  'select * from storage.move_version(:bucketId, :name, :version, :toBucketId, :toName, :owner, :ownerId, :context)',
)

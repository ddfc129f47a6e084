import type { Caller } from '../../../model/caller.ts'
import { hasCode, StorageError } from '../../../model/errors.ts'
import type { WantedVersion } from '../../../model/version-id.ts'
import type { Tags, WriteCondition } from '../../../model/write-condition.ts'
import { nameOfKey } from '../../../storage/object/folder-marker.ts'
import type { RemovedVersion } from '../../../storage/writing/version-removals.ts'
import { logEach } from '../../env.ts'
import type { ObjectNote } from '../../surface.ts'
import { announcedTrailers } from '../checksum-words.ts'
import { s3Code } from '../errors.ts'
import type { Operation, S3Request } from '../request.ts'
import { parseVersionId } from '../version-ids.ts'
import { childText, malformed, type XmlElement } from '../xml-reader.ts'
import type { XmlElements } from '../xml-writer.ts'

/** In one request, as with S3. */
const MOST_KEYS = 1000

/** POST to a bucket with `delete`: many objects, each as if it were alone (wire §6.3). */
export const deleteObjects: Operation = {
  name: 'storage.s3.object.delete_many',
  async handle(request) {
    const { services, bucket } = request
    const caller = await request.caller()
    demandDigest(request)
    const body = await request.readXml('Delete')
    const wanted = body.children.filter(({ name }) => name === 'Object').map(wantedOf)
    if (wanted.length === 0 || wanted.length > MOST_KEYS) {
      throw malformed(`it must name 1 to ${MOST_KEYS} objects`)
    }
    await services.buckets.demand(bucket)
    const outcomes = await deleteAll(request, caller, wanted)

    const deleted: XmlElements[] = []
    const errors: XmlElements[] = []
    for (const [{ key, versionId: VersionId }, outcome] of outcomes) {
      if (outcome instanceof StorageError) {
        errors.push({ Key: key, VersionId, Code: s3Code(outcome.code), Message: outcome.message })
      } else {
        deleted.push({ Key: key, VersionId, ...(outcome?.marker && markerElements(outcome.marker)) })
      }
    }
    request.c.env.notes.locked = [...outcomes.values()].filter((outcome) =>
      hasCode(outcome, 'ObjectLocked'),
    ).length
    logEach(request.c, Array.from(outcomes, noteOf))
    const isQuiet = childText(body, 'Quiet') === 'true'
    return request.xml('DeleteResult', { Deleted: isQuiet ? [] : deleted, Error: errors })
  },
}

/** What has become of an entry: what is gone, and the marker that says so or was there; null when nothing was there. */
type Outcome = { id: string; version?: string | null; marker: string | null } | StorageError | null

function noteOf([{ name: path, versionId }, outcome]: [Wanted, Outcome]): ObjectNote {
  if (outcome instanceof StorageError) return { path, version: versionId, status: outcome.status }
  return {
    path,
    version: outcome?.version ?? versionId,
    objectId: outcome?.id,
    status: outcome ? 204 : 404,
  }
}

/** First the names, then the versions, in their order. */
async function deleteAll(
  { services, bucket }: S3Request,
  caller: Caller,
  wanted: Wanted[],
): Promise<Map<Wanted, Outcome>> {
  const { files } = services
  const fit = wanted.filter(({ unfit }) => !unfit)
  const plain = fit.filter(({ version }) => !version)
  const names = plain.map(({ name }) => name)
  const conditions = new Map(
    plain.flatMap(({ name, condition }) => (condition ? [[name, condition] as const] : [])),
  )
  const { deleted, kept } = await files.removeEach(caller, bucket, names, conditions)
  const versions = fit.flatMap(({ version, name, condition }) =>
    version ? [{ name, version, condition }] : [],
  )
  const removed = (await files.removeEachVersion(caller, bucket, versions)).values()
  return new Map(
    wanted.map((one) => {
      if (one.unfit) return [one, one.unfit]
      if (one.version) return [one, outcomeOf(removed.next().value ?? null, one.versionId ?? null)]
      const gone = deleted.get(one.name)
      return [
        one,
        kept.get(one.name) ?? (gone ? { id: gone.id, marker: gone.marker?.versionId ?? null } : null),
      ]
    }),
  )
}

function outcomeOf(removed: RemovedVersion, versionId: string | null): Outcome {
  if (removed === null || removed instanceof StorageError) return removed
  return { id: removed.id, version: removed.version, marker: removed.isDeleteMarker ? versionId : null }
}

function markerElements(versionId: string): XmlElements {
  return { DeleteMarker: true, DeleteMarkerVersionId: versionId }
}

/** S3 wants it, so that a body that was damaged on its way deletes nothing else; a signature of the body is as good. */
function demandDigest(request: S3Request): void {
  const { payload } = request
  const isSigned = payload.kind === 'sha256' || (payload.kind === 'chunked' && payload.signatures !== null)
  const { headers } = request.c.env.incoming
  const isDigest = (name: string) => name === 'content-md5' || name.startsWith('x-amz-checksum-')
  if (isSigned || [...Object.keys(headers), ...announcedTrailers(headers)].some(isDigest)) return
  throw new StorageError('InvalidRequest', {
    message: 'Missing required header for this request: Content-MD5 or x-amz-checksum-…',
  })
}

interface Wanted {
  key: string
  name: string
  /** As it was sent. */
  versionId: string | undefined
  version: WantedVersion | undefined
  condition: WriteCondition | undefined
  /** Why nothing is done about it. */
  unfit: StorageError | undefined
}

/** @throws MalformedXML */
function wantedOf(object: XmlElement): Wanted {
  const key = childText(object, 'Key')
  if (!key) throw malformed('an object has no key')
  const tag = childText(object, 'ETag')
  const condition = tag === undefined ? undefined : { ifMatch: asTags(tag) }
  const versionId = childText(object, 'VersionId') || undefined
  return { key, name: nameOfKey(key), versionId, condition, ...fitOf(object, versionId) }
}

function fitOf(object: XmlElement, versionId: string | undefined): Pick<Wanted, 'version' | 'unfit'> {
  const condition = ['LastModifiedTime', 'Size'].find((name) => childText(object, name) !== undefined)
  if (condition !== undefined) {
    const message = `A condition by ${condition} is not supported`
    return { version: undefined, unfit: new StorageError('NotImplemented', { message }) }
  }
  try {
    return { version: versionId === undefined ? undefined : parseVersionId(versionId), unfit: undefined }
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    return { version: undefined, unfit: error }
  }
}

function asTags(text: string): Tags {
  if (text === '*') return text
  return [text.startsWith('"') ? text : `"${text}"`]
}

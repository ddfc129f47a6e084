import { StorageError } from '../../../model/errors.ts'
import type { Tags, WriteCondition } from '../../../model/write-condition.ts'
import { nameOfKey } from '../../../storage/object/folder-marker.ts'
import { announcedTrailers } from '../checksum-words.ts'
import { s3Code } from '../errors.ts'
import type { Operation, S3Request } from '../request.ts'
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
    const fit = wanted.filter(({ unfit }) => !unfit)
    const conditions = new Map(
      fit.flatMap(({ name, condition }) => (condition ? [[name, condition] as const] : [])),
    )
    const names = fit.map(({ name }) => name)
    const done = await services.files.removeEach(caller, bucket, names, conditions)
    const { kept } = done

    const deleted: XmlElements[] = []
    const errors: XmlElements[] = []
    for (const { key, name, unfit } of wanted) {
      const error = unfit ?? kept.get(name)
      if (error) errors.push({ Key: key, Code: s3Code(error.code), Message: error.message })
      else deleted.push({ Key: key })
    }
    const each = new Map(wanted.map((one) => [one.name, one])).values()
    request.c.env.notes.each = Array.from(each, ({ name, unfit }) => {
      const objectId = done.deleted.get(name)?.id
      return { path: name, objectId, status: (unfit ?? kept.get(name))?.status ?? (objectId ? 204 : 404) }
    })
    const isQuiet = childText(body, 'Quiet') === 'true'
    return request.xml('DeleteResult', { Deleted: isQuiet ? [] : deleted, Error: errors })
  },
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
  return { key, name: nameOfKey(key), condition, unfit: unfitOf(object) }
}

function unfitOf(object: XmlElement): StorageError | undefined {
  const version = childText(object, 'VersionId')
  if (version !== undefined && version !== '' && version !== 'null') {
    return new StorageError('InvalidParameter', { message: 'Invalid version id specified' })
  }
  const condition = ['LastModifiedTime', 'Size'].find((name) => childText(object, name) !== undefined)
  if (condition === undefined) return undefined
  return new StorageError('NotImplemented', { message: `A condition by ${condition} is not supported` })
}

function asTags(text: string): Tags {
  if (text === '*') return text
  return [text.startsWith('"') ? text : `"${text}"`]
}

import type { KeyEntry } from '../../../database/queries/key-lists.ts'
import type { Caller } from '../../../model/caller.ts'
import { validatorsOf } from '../../../storage/object/stored-object.ts'
import { askerOf } from '../../auth/caller.ts'
import { continuationIn, continuationToken } from '../continuation-token.ts'
import { ownerElement } from '../owner.ts'
import { integerIn, type KeyWriter, keyWriterIn, textIn } from '../parameters.ts'
import type { Operation, S3Request } from '../request.ts'
import type { XmlElements } from '../xml-writer.ts'

/** More are not asked for, as with S3. */
const MOST_KEYS = 1000

/** GET of a bucket (wire §6.3), the older form. */
export const listObjects: Operation = {
  name: 'storage.s3.object.list',
  async handle(request) {
    const caller = await request.caller()
    const { write, ...list } = listIn(request)
    const marker = textIn(request.query, 'marker')
    const { entries, isTruncated } = await pageOf(request, caller, { ...list, after: marker })
    const last = entries.at(-1)
    return request.xml('ListBucketResult', {
      ...headOf(request, list, write),
      Marker: write(marker),
      // Without a delimiter, the last key is the next marker: clients know that.
      NextMarker: isTruncated && list.delimiter !== '' && last ? write(last.key) : undefined,
      IsTruncated: isTruncated,
      ...entriesOf(entries, write, { withOwner: true }),
    })
  },
}

/** GET of a bucket with `list-type=2` (wire §6.3). */
export const listObjectsV2: Operation = {
  name: 'storage.s3.object.list',
  async handle(request) {
    const { query } = request
    if (query.get('list-type') !== '2') return listObjects.handle(request)
    const caller = await request.caller()
    const { write, ...list } = listIn(request)
    const startAfter = textIn(query, 'start-after')
    const after = continuationIn(query) ?? startAfter
    const { entries, isTruncated } = await pageOf(request, caller, { ...list, after })
    const last = entries.at(-1)
    return request.xml('ListBucketResult', {
      ...headOf(request, list, write),
      StartAfter: query.has('start-after') ? write(startAfter) : undefined,
      ContinuationToken: query.get('continuation-token'),
      NextContinuationToken: isTruncated && last ? continuationToken(last.key) : undefined,
      KeyCount: entries.length,
      IsTruncated: isTruncated,
      ...entriesOf(entries, write, { withOwner: query.get('fetch-owner') === 'true' }),
    })
  },
}

interface List {
  prefix: string
  delimiter: string
  limit: number
}

/** @throws InvalidParameter */
function listIn({ query }: S3Request): List & { write: KeyWriter } {
  return {
    prefix: textIn(query, 'prefix'),
    delimiter: textIn(query, 'delimiter'),
    limit: integerIn(query, 'max-keys', { from: 0, to: MOST_KEYS }) ?? MOST_KEYS,
    write: keyWriterIn(query),
  }
}

/** @throws NoSuchBucket, TooManyQuestions, DatabaseTimeout */
async function pageOf(request: S3Request, caller: Caller, list: List & { after: string }) {
  const { c, services, bucket } = request
  const [page] = await Promise.all([
    services.lists.keys(caller, askerOf(c, services, caller), bucket, list),
    services.buckets.demand(bucket),
  ])
  return page
}

function headOf(
  { bucket, query }: S3Request,
  { prefix, delimiter, limit }: List,
  write: KeyWriter,
): XmlElements {
  return {
    Name: bucket,
    Prefix: write(prefix),
    Delimiter: delimiter === '' ? undefined : write(delimiter),
    MaxKeys: limit,
    EncodingType: query.get('encoding-type') || undefined,
  }
}

function entriesOf(entries: KeyEntry[], write: KeyWriter, { withOwner }: { withOwner: boolean }) {
  const contents: XmlElements[] = []
  const prefixes: XmlElements[] = []
  for (const { key, object } of entries) {
    if (!object) {
      prefixes.push({ Prefix: write(key) })
      continue
    }
    const { metadata, ownerId } = object
    const { etag, lastModified } = validatorsOf(object)
    contents.push({
      Key: write(key),
      LastModified: lastModified.toISOString(),
      ETag: etag,
      ChecksumAlgorithm: metadata?.checksum?.algorithm,
      ChecksumType: metadata?.checksum?.type,
      Size: typeof metadata?.size === 'number' ? metadata.size : 0,
      Owner: withOwner ? ownerElement(ownerId) : undefined,
      StorageClass: 'STANDARD',
    })
  }
  return { Contents: contents, CommonPrefixes: prefixes }
}

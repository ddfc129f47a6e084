import { Hono } from 'hono'
import { printable } from '../../lib/printable.ts'
import { StorageError } from '../../model/errors.ts'
import { NULL_VERSION } from '../../model/version-id.ts'
import type { AppContext, Env } from '../env.ts'
import { addressOf, type Level, S3_PATH } from './address.ts'
import { getBucketAcl, putBucketAcl } from './buckets/acl.ts'
import { CONFIGURATIONS } from './buckets/configuration.ts'
import { createBucket } from './buckets/create.ts'
import { deleteBucket } from './buckets/delete.ts'
import { headBucket } from './buckets/head.ts'
import { deleteBucketLifecycle, getBucketLifecycle, putBucketLifecycle } from './buckets/lifecycle.ts'
import { listBuckets } from './buckets/list.ts'
import { listObjects, listObjectsV2 } from './buckets/list-objects.ts'
import { listObjectVersions } from './buckets/list-versions.ts'
import { getObjectLockConfiguration, putObjectLockConfiguration } from './buckets/object-lock.ts'
import { getBucketVersioning, putBucketVersioning } from './buckets/versioning.ts'
import { abortMultipartUpload } from './multipart/abort.ts'
import { completeMultipartUpload } from './multipart/complete.ts'
import { createMultipartUpload } from './multipart/create.ts'
import { listParts } from './multipart/list-parts.ts'
import { listMultipartUploads } from './multipart/list-uploads.ts'
import { uploadPart } from './multipart/upload-part.ts'
import { uploadPartCopy } from './multipart/upload-part-copy.ts'
import { getObjectAcl } from './objects/acl.ts'
import { getObjectAttributes } from './objects/attributes.ts'
import { copyObject } from './objects/copy.ts'
import { deleteObject } from './objects/delete.ts'
import { deleteObjects } from './objects/delete-many.ts'
import { getObject, headObject } from './objects/get.ts'
import { getObjectLegalHold, putObjectLegalHold } from './objects/legal-hold.ts'
import { postObject } from './objects/post-object.ts'
import { putObject } from './objects/put.ts'
import { renameObject } from './objects/rename.ts'
import { getObjectRetention, putObjectRetention } from './objects/retention.ts'
import { deleteObjectTagging, getObjectTagging, putObjectTagging } from './objects/tagging.ts'
import { parseQuery } from './query.ts'
import { type Operation, S3Request, type S3Server } from './request.ts'
import { isPresigned } from './signature/query.ts'

/**
 * All operations: by what they are about, the method, and the parameter that chooses one, if there is any (wire §6.3). A copy
 * is a PUT that names its source in a header, and a form a POST to a bucket.
 */
export const OPERATIONS: Record<Level, Record<string, Operation>> = {
  service: {
    GET: listBuckets,
  },
  bucket: {
    'GET ?uploads': listMultipartUploads,
    GET: listObjects,
    'GET ?list-type': listObjectsV2,
    HEAD: headBucket,
    PUT: createBucket,
    DELETE: deleteBucket,
    POST: postObject,
    'POST ?delete': deleteObjects,
    'GET ?acl': getBucketAcl,
    'PUT ?acl': putBucketAcl,
    'GET ?versioning': getBucketVersioning,
    'PUT ?versioning': putBucketVersioning,
    'GET ?versions': listObjectVersions,
    'GET ?lifecycle': getBucketLifecycle,
    'PUT ?lifecycle': putBucketLifecycle,
    'DELETE ?lifecycle': deleteBucketLifecycle,
    'GET ?object-lock': getObjectLockConfiguration,
    'PUT ?object-lock': putObjectLockConfiguration,
    ...CONFIGURATIONS,
  },
  object: {
    GET: getObject,
    HEAD: headObject,
    PUT: putObject,
    DELETE: deleteObject,
    'GET ?attributes': getObjectAttributes,
    'PUT from': copyObject,
    'PUT ?renameObject': renameObject,
    'POST ?uploads': createMultipartUpload,
    'PUT ?uploadId': uploadPart,
    'PUT ?uploadId from': uploadPartCopy,
    'POST ?uploadId': completeMultipartUpload,
    'DELETE ?uploadId': abortMultipartUpload,
    'GET ?uploadId': listParts,
    'GET ?acl': getObjectAcl,
    'GET ?tagging': getObjectTagging,
    'PUT ?tagging': putObjectTagging,
    'DELETE ?tagging': deleteObjectTagging,
    'GET ?retention': getObjectRetention,
    'PUT ?retention': putObjectRetention,
    'GET ?legal-hold': getObjectLegalHold,
    'PUT ?legal-hold': putObjectLegalHold,
  },
}

/** Parameters that choose an operation here, or would with Amazon: what they ask for is not what there is without them. */
const SELECTORS = new Set([
  'accelerate',
  'acl',
  'analytics',
  'annotation',
  'attributes',
  'cors',
  'delete',
  'encryption',
  'intelligent-tiering',
  'inventory',
  'legal-hold',
  'lifecycle',
  'list-type',
  'location',
  'logging',
  'metadataConfiguration',
  'metadataTable',
  'metrics',
  'notification',
  'object-lock',
  'ownershipControls',
  'policy',
  'policyStatus',
  'publicAccessBlock',
  'renameObject',
  'replication',
  'requestPayment',
  'restore',
  'retention',
  'select',
  'session',
  'tagging',
  'torrent',
  'uploadId',
  'uploads',
  'versioning',
  'versions',
  'website',
])

/** Parameters of operations. What else has no value chooses an operation that is not here. */
const PARAMETERS = new Set([
  'bucket-region',
  'continuation-token',
  'delimiter',
  'encoding-type',
  'fetch-owner',
  'key-marker',
  'marker',
  'max-buckets',
  'max-keys',
  'max-parts',
  'max-uploads',
  'part-number-marker',
  'partNumber',
  'prefix',
  'start-after',
  'upload-id-marker',
  'version-id-marker',
  'versionId',
  'x-id',
])

export function s3Routes(server: S3Server): Hono<Env> {
  return new Hono<Env>().all(`${S3_PATH}/*`, (c) => answer(c, server))
}

async function answer(c: AppContext, server: S3Server): Promise<Response> {
  const { incoming, outgoing, target } = c.env
  // What there is of metadata and checksums has names of its own. No cookie comes along, so this means all.
  if (outgoing.hasHeader(EXPOSED)) outgoing.setHeader(EXPOSED, '*')
  const address = addressOf(target.path)
  const query = parseQuery(target.query)
  const request = new S3Request(c, server, address, query)
  const operation = findOperation(request, address.level, incoming.method ?? 'GET')
  c.env.notes.operation = operation.name
  if (!operation.ofVersions) refuseVersion(query.get('versionId'))
  refusePartOfNothing(operation, query)
  return operation.handle(request)
}

/** What is not about one version takes none for another. @throws InvalidParameter */
function refuseVersion(id: string | undefined): void {
  if (id === undefined || id === NULL_VERSION) return
  throw new StorageError('InvalidParameter', { message: 'Invalid version id specified' })
}

/** Who has lost the id of his upload does not want the object to be that part. @throws InvalidParameter */
function refusePartOfNothing(operation: Operation, query: ReadonlyMap<string, string>): void {
  if (!query.has('partNumber') || (operation !== putObject && operation !== copyObject)) return
  throw new StorageError('InvalidParameter', { message: 'partNumber needs an uploadId' })
}

/** Which headers a page of another origin may read (the Fetch standard, §3.2.3). */
const EXPOSED = 'Access-Control-Expose-Headers'

/** @throws NotImplemented, MethodNotAllowed */
function findOperation(request: S3Request, level: Level, method: string): Operation {
  const operations = OPERATIONS[level]
  const selector = selectorOf(request)
  const found = operations[selector === undefined ? method : `${method} ${selector}`]
  if (found) return found
  if (selector !== undefined) {
    const what = printable(`${method} with ${selector}`)
    throw new StorageError('NotImplemented', { message: `${what} is not supported` })
  }
  throw new StorageError('MethodNotAllowed', { headers: { Allow: methodsAt(level) } })
}

/** As a row of `OPERATIONS` names it. */
function selectorOf(request: S3Request): string | undefined {
  for (const [name, value] of request.query) {
    if (SELECTORS.has(name)) {
      const isCopy = name === 'uploadId' && isCopyOf(request)
      return isCopy ? `?${name} from` : `?${name}`
    }
    if (value === '' && !PARAMETERS.has(name) && !/^(?:x-amz-|response-)/i.test(name)) return `?${name}`
  }
  return request.key !== '' && isCopyOf(request) ? 'from' : undefined
}

/** A presigned URL has the source in its query. */
function isCopyOf({ c, query }: S3Request): boolean {
  const { incoming, target } = c.env
  if (incoming.method !== 'PUT') return false
  return incoming.headers[COPY_SOURCE] !== undefined || (query.has(COPY_SOURCE) && isPresigned(target.query))
}

const COPY_SOURCE = 'x-amz-copy-source'

function methodsAt(level: Level): string {
  const methods = Object.keys(OPERATIONS[level]).map((row) => row.split(' ')[0] ?? '')
  return [...new Set([...methods, 'OPTIONS'])].join(', ')
}

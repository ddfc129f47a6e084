import { type Handler, Hono } from 'hono'
import type { Logger } from 'pino'
import type { UploadAddress } from '../../database/queries/resumable-uploads.ts'
import { StorageError } from '../../model/errors.ts'
import type { ToldStatus, Uploader } from '../../storage/resumable/resumable-uploads.ts'
import type { Chunk } from '../../storage/resumable/upload-chunks.ts'
import { anonymousCaller, requireCaller } from '../auth/caller.ts'
import { shareOf } from '../auth/share-of.ts'
import { clientAddress } from '../connection/client-address.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { writeCondition } from '../message/conditionals.ts'
import { absoluteUrl } from '../message/public-url.ts'
import { declaredLength } from '../message/upload-body.ts'
import type { Services } from '../services.ts'
import { bringsChunk, checkChunkType, checksumIn, checkVersion, createdLength, numberIn } from './headers.ts'
import { TUS_PATH, tusError } from './protocol.ts'
import { parseUploadId, uploadId } from './upload-id.ts'
import { parseUploadMetadata } from './upload-metadata.ts'

/** A way to prove who goes on with an upload: a login, or the token of a signed upload URL. */
interface Variant {
  path: string
  /** After `storage.tus.upload.create` and the like (wire §5.1). */
  suffix: string
  isSigned: boolean
}

/** Who has the token of a signed URL may be a stranger to its signer: what he begins is not held against him. */
const ANYBODY = { role: 'anon', subject: null }

/** Says who asks, for this object. @throws InvalidRequest, InvalidJWT, ExpiredToken, InvalidSignature */
type Identify = (target: { bucket: string; name: string }) => Uploader

/** The TUS protocol (wire §5). */
export function resumableRoutes(services: Services, logger: Logger) {
  return (
    new Hono<Env>()
      // Its path is also one of the other variant's ids, so it stands first.
      .route('/', variant(services, logger, { path: `${TUS_PATH}/sign`, suffix: '_signed', isSigned: true }))
      .route('/', variant(services, logger, { path: TUS_PATH, suffix: '', isSigned: false }))
  )
}

function variant(services: Services, logger: Logger, { path, suffix, isSigned }: Variant) {
  const { resumable, urls } = services

  /** Checks what all requests have in common, and renders what goes wrong from there on. */
  function answer(
    action: string,
    work: (c: AppContext, identify: Identify) => Promise<Response>,
  ): Handler<Env> {
    return async (c) => {
      const operation = `storage.tus.upload.${action}${suffix}`
      // A bad login is refused in JSON like everywhere (wire §5.8).
      const caller = isSigned
        ? anonymousCaller(c, services, operation)
        : await requireCaller(c, services, operation)
      const identify: Identify = ({ bucket, name }) => {
        logTarget(c, bucket, name)
        const gone = goneSignal(c)
        if (!isSigned) return { caller, isSigned, upsert: c.req.header('x-upsert') === 'true', gone }
        const token = c.req.header('x-signature')
        if (!token) throw new StorageError('InvalidRequest', { message: 'Missing x-signature header' })
        const grant = urls.checkUpload(token, bucket, name)
        const { upsert, bucketUid } = grant
        return { caller: urls.signer(caller, grant), isSigned, upsert, bucketUid, gone }
      }
      try {
        checkVersion(c.env.incoming)
        return await work(c, identify)
      } catch (error) {
        return tusError(c, error, logger, action === 'get')
      }
    }
  }

  const create = answer('create', async (c, identify) => {
    const { incoming } = c.env
    if (c.req.header('upload-concat') !== undefined) {
      throw new StorageError('NotImplemented', { message: 'The concatenation extension is not supported' })
    }
    const uploadMetadata = c.req.header('upload-metadata') ?? ''
    const { bucket, name, content } = parseUploadMetadata(uploadMetadata)
    const uploader = identify({ bucket, name })
    const length = createdLength(incoming)
    const chunk = bringsChunk(incoming) ? chunkOf(c, 0, null) : undefined
    const condition = writeCondition(incoming.headers)
    const remembered = { ...content, ...(condition && { condition }) }
    const share = shareOf(isSigned ? ANYBODY : uploader.caller, clientAddress(incoming, services.trustProxy))
    const request = { bucket, name, length, uploadMetadata, content: remembered, share }
    const { version, ...status } = await (chunk
      ? services.uploads.during(incoming, (admit) => resumable.create(uploader, request, { ...chunk, admit }))
      : resumable.create(uploader, request, undefined))
    return c.body(null, 201, {
      Location: absoluteUrl(c, services, `${path}/${uploadId({ bucket, name, version })}`),
      ...(chunk && { 'Upload-Offset': String(status.offset) }),
      ...endHeaders(status),
    })
  })

  const find = answer('get', async (c, identify) => {
    const address = addressOf(c)
    const status = await resumable.find(identify(address), address)
    const { offset, length, uploadMetadata } = status
    return c.body(null, 200, {
      'Upload-Offset': String(offset),
      ...(length === null ? { 'Upload-Defer-Length': '1' } : { 'Upload-Length': String(length) }),
      ...(uploadMetadata !== '' && { 'Upload-Metadata': uploadMetadata }),
      ...endHeaders(status),
      'Cache-Control': 'no-store',
    })
  })

  const append = answer('part', async (c, identify) => {
    const { incoming } = c.env
    const address = addressOf(c)
    const uploader = identify(address)
    checkChunkType(incoming)
    const offset = numberIn(incoming, 'upload-offset')
    if (offset === null) throw new StorageError('InvalidRequest', { message: 'Upload-Offset is required' })
    const chunk = chunkOf(c, offset, numberIn(incoming, 'upload-length'))
    const status = await services.uploads.during(incoming, (admit) =>
      resumable.append(uploader, address, { ...chunk, admit }),
    )
    return c.body(null, 204, { 'Upload-Offset': String(status.offset), ...endHeaders(status) })
  })

  const terminate = answer('delete', async (c, identify) => {
    const address = addressOf(c)
    await resumable.terminate(identify(address), address)
    return c.body(null, 204)
  })

  const byMethod = new Map([
    ['PATCH', append],
    ['DELETE', terminate],
    ['HEAD', find],
  ])

  return (
    new Hono<Env>()
      .post(path, create)
      .post(`${path}/`, create)
      // Hono answers HEAD by the routes of GET; a GET is no part of the protocol.
      .get(`${path}/:id`, (c, next) => (c.req.method === 'HEAD' ? find(c, next) : next()))
      .patch(`${path}/:id`, append)
      .put(`${path}/:id`, append)
      .delete(`${path}/:id`, terminate)
      // For clients whose network knows no other method (TUS 1.0, X-HTTP-Method-Override).
      .post(`${path}/:id`, (c, next) => {
        const meant = byMethod.get(c.req.header('x-http-method-override')?.toUpperCase() ?? '')
        return meant ? meant(c, next) : next()
      })
  )
}

/** @throws InvalidUploadId, NoSuchUpload */
function addressOf(c: AppContext): UploadAddress {
  return parseUploadId(c.req.param('id') ?? '')
}

/** @throws InvalidRequest when its checksum is malformed */
function chunkOf(c: AppContext, offset: number, length: number | null): Omit<Chunk, 'admit'> {
  const { incoming } = c.env
  return { body: incoming, size: declaredLength(incoming), offset, length, checksum: checksumIn(incoming) }
}

/** When an upload ends: it has, or it will if nothing more comes. */
function endHeaders({ expiresAt, isFinished }: ToldStatus): Record<string, string> {
  return isFinished ? { 'Tus-Complete': '1' } : { 'Upload-Expires': expiresAt.toUTCString() }
}

/** Aborted when nobody waits for the answer any more. */
function goneSignal(c: AppContext): AbortSignal {
  const gone = new AbortController()
  c.env.outgoing.once('close', () => gone.abort())
  return gone.signal
}

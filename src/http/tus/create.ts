import { StorageError } from '../../model/errors.ts'
import { writeCondition } from '../message/conditionals.ts'
import { absoluteUrl } from '../message/public-url.ts'
import { bringsChunk, chunkIn, createdLength, endHeaders } from './headers.ts'
import type { TusRequest } from './request.ts'
import { uploadId } from './upload-id.ts'
import { parseUploadMetadata } from './upload-metadata.ts'

/** POST: begins an upload, perhaps with its first chunk (TUS 1.0, Creation; wire §5.5). */
export async function createUpload(request: TusRequest): Promise<Response> {
  const { c, services, variant } = request
  const { resumable } = services
  const { incoming } = c.env
  if (c.req.header('upload-concat') !== undefined) {
    throw new StorageError('NotImplemented', { message: 'The concatenation extension is not supported' })
  }
  const uploadMetadata = c.req.header('upload-metadata') ?? ''
  const { bucket, name, content } = parseUploadMetadata(uploadMetadata)
  const uploader = await request.identify({ bucket, name })
  const length = createdLength(incoming)
  const chunk = bringsChunk(incoming) ? chunkIn(incoming, 0, null) : undefined
  const condition = writeCondition(incoming.headers)
  const remembered = { ...content, ...(condition && { condition }) }
  const share = request.share(uploader)
  const upload = { bucket, name, length, uploadMetadata, content: remembered, share }
  const { version, ...status } = await (chunk
    ? services.uploads.during(incoming, share, (admit) =>
        resumable.create(uploader, upload, { ...chunk, admit }),
      )
    : resumable.create(uploader, upload, undefined))
  if (chunk) c.env.notes.size = status.offset
  request.note(status)
  return c.body(null, 201, {
    Location: absoluteUrl(c, services, `${variant.path}/${uploadId({ bucket, name, version })}`),
    ...(chunk && { 'Upload-Offset': String(status.offset) }),
    ...endHeaders(status),
  })
}

import { StorageError } from '../../model/errors.ts'
import { checkChunkType, chunkIn, endHeaders, numberIn } from './headers.ts'
import type { TusRequest } from './request.ts'

/** PATCH: the next chunk of an upload (TUS 1.0, PATCH; wire §5.5). */
export async function appendChunk(request: TusRequest): Promise<Response> {
  const { c, services } = request
  const { incoming } = c.env
  const address = request.address()
  const uploader = await request.identify(address)
  checkChunkType(incoming)
  const offset = numberIn(incoming, 'upload-offset')
  if (offset === null) throw new StorageError('InvalidRequest', { message: 'Upload-Offset is required' })
  const chunk = chunkIn(incoming, offset, numberIn(incoming, 'upload-length'))
  const status = await services.uploads.during(incoming, request.share(uploader), (admit) =>
    services.resumable.append(uploader, address, { ...chunk, admit }),
  )
  c.env.notes.size = status.offset - offset
  request.note(status)
  return c.body(null, 204, { 'Upload-Offset': String(status.offset), ...endHeaders(status) })
}

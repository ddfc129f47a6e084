import { endHeaders } from './headers.ts'
import type { TusRequest } from './request.ts'

/** HEAD: how far an upload has come (TUS 1.0, HEAD; wire §5.5). */
export async function findUpload(request: TusRequest): Promise<Response> {
  const address = request.address()
  const status = await request.services.resumable.find(await request.identify(address), address)
  request.note(status)
  const { offset, length, uploadMetadata } = status
  return request.c.body(null, 200, {
    'Upload-Offset': String(offset),
    ...(length === null ? { 'Upload-Defer-Length': '1' } : { 'Upload-Length': String(length) }),
    ...(uploadMetadata !== '' && { 'Upload-Metadata': uploadMetadata }),
    ...endHeaders(status),
    'Cache-Control': 'no-store',
  })
}

import type { Operation } from '../request.ts'
import { placeOf } from './place.ts'

/** DELETE with `uploadId`: ends an upload, and removes its parts (wire §6.3). */
export const abortMultipartUpload: Operation = {
  name: 'storage.s3.upload.abort_multipart',
  async handle(request) {
    const caller = await request.caller()
    await request.services.multipart.abort(caller, placeOf(request))
    return request.empty(204)
  },
}

import { hasCode } from '../../../model/errors.ts'
import type { Operation } from '../request.ts'
import { writeConditionOf } from './conditions.ts'
import { refuseUnsupported } from './refusals.ts'

/** DELETE of an object; of one that is not there, too, which is as well (wire §6.3). */
export const deleteObject: Operation = {
  name: 'storage.s3.object.delete',
  async handle(request) {
    const { services, bucket, name } = request
    const caller = await request.caller()
    await refuseUnsupported(request)
    try {
      const { notes } = request.c.env
      notes.objectId = (await services.files.remove(caller, bucket, name, writeConditionOf(request))).id
    } catch (error) {
      if (!hasCode(error, 'NoSuchKey')) throw error
      await services.buckets.demand(bucket)
      request.c.env.notes.each = [{ path: name, status: error.status }]
    }
    return request.empty(204)
  },
}

import { hasCode } from '../../../model/errors.ts'
import { logVersion } from '../../env.ts'
import type { Operation } from '../request.ts'
import { markerHeaders, versionHeaders, versionIn } from '../version-ids.ts'
import { writeConditionOf } from './conditions.ts'
import { refuseUnsupported } from './refusals.ts'

/**
 * DELETE of an object, where versions are kept by a marker; or, by its id, of a version or a marker for good. Of what is not there,
 * too, which is as well (wire §6.3).
 */
export const deleteObject: Operation = {
  name: 'storage.s3.object.delete',
  ofVersions: true,
  async handle(request) {
    const { services, bucket, name, query } = request
    const { notes } = request.c.env
    const caller = await request.caller()
    await refuseUnsupported(request)
    const version = versionIn(query)
    logVersion(request.c, version)
    const condition = writeConditionOf(request)
    let headers = versionHeaders(query.get('versionId') ?? null)
    try {
      if (version) {
        const removed = await services.files.removeVersion(caller, bucket, name, version, condition)
        notes.objectId = removed.id
        notes.resourceId = removed.version ?? undefined
        if (removed.isDeleteMarker) headers = { ...headers, 'x-amz-delete-marker': 'true' }
      } else {
        const { id, marker } = await services.files.remove(caller, bucket, name, condition)
        notes.objectId = id
        if (marker) headers = markerHeaders(marker.versionId)
      }
    } catch (error) {
      if (!hasCode(error, 'NoSuchKey') && !hasCode(error, 'NoSuchVersion')) throw error
      await services.buckets.demand(bucket)
      notes.each = [{ path: name, version: notes.resourceId, status: error.status }]
    }
    return request.empty(204, headers)
  },
}

import { checksumOf } from '../../../storage/object/s3-metadata.ts'
import { logStored } from '../../env.ts'
import { readBody } from '../body.ts'
import { checksumHeaders } from '../checksum-words.ts'
import type { Operation } from '../request.ts'
import { versionHeaders } from '../version-ids.ts'
import { underCondition, writeConditionOf } from './conditions.ts'
import { contentOf } from './content.ts'
import { refuseUnsupported } from './refusals.ts'

/** PUT of an object: makes it, or replaces it (wire §6.3). */
export const putObject: Operation = {
  name: 'storage.s3.upload',
  async handle(request) {
    const { c, services, bucket, name } = request
    const caller = await request.caller()
    await refuseUnsupported(request)
    const condition = writeConditionOf(request)
    const { headers, ...content } = contentOf(request)
    const stored = await services.uploads.during(c.env.incoming, request.client(caller), (admit) =>
      underCondition(request, caller, condition, () =>
        services.files.upload(caller, {
          ...content,
          bucket,
          name,
          // Who only makes objects needs no right to replace one.
          upsert: condition?.ifNoneMatch !== '*',
          condition,
          body: readBody(request, admit, { headers }),
        }),
      ),
    )
    const { object } = stored
    logStored(c, stored)
    const checksum = checksumOf(object)
    return request.empty(200, {
      ETag: object.etag,
      ...versionHeaders(object.versionId),
      ...(checksum && checksumHeaders(checksum)),
    })
  },
}

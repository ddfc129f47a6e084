import { StorageError } from '../../../model/errors.ts'
import { logObject, logRoute } from '../../env.ts'
import { writeCondition } from '../../message/conditionals.ts'
import type { Operation, S3Request } from '../request.ts'
import { conditionsOf, writeConditionOf } from './conditions.ts'
import { parseRenameSource } from './source.ts'

/** Conditions that a write cannot have. */
const NOT_DONE = ['if-modified-since', 'x-amz-rename-source-if-modified-since']

/**
 * PUT with `?renameObject`: the object of this key is from now on the one that was another's; in one moment, and no byte is
 * moved (wire §14), but where versions are kept, which stay. What had the key gives way, unless `If-None-Match: *` says otherwise.
 */
export const renameObject: Operation = {
  name: 'storage.s3.object.rename',
  async handle(request) {
    const { services, bucket, name } = request
    const caller = await request.caller()
    for (const header of NOT_DONE) {
      if (request.header(header) === undefined) continue
      throw new StorageError('NotImplemented', { message: `${header} is not supported` })
    }
    const from = parseRenameSource(request.header('x-amz-rename-source') ?? '', bucket)
    logRoute(request.c, from, request)
    const target = writeConditionOf(request)
    const replaces = target?.ifNoneMatch !== '*'
    const moved = await services.files.move(
      caller,
      from,
      { bucket, name },
      { source: sourceCondition(request), target, replaces },
    )
    logObject(request.c, moved)
    return request.empty(200)
  },
}

/** @throws InvalidRequest */
function sourceCondition(request: S3Request) {
  const { ifMatch, ifNoneMatch, ifUnmodifiedSince } = conditionsOf(request, 'x-amz-rename-source-')
  return writeCondition({
    'if-match': ifMatch,
    'if-none-match': ifNoneMatch,
    'if-unmodified-since': ifUnmodifiedSince,
  })
}

import { StorageError } from '../../../model/errors.ts'

/** Says what is wrong, to clients that sign as S3 did before 2014, or by a scheme of AWS that is not spoken here. */
export function refuseOtherSchemes(authorization: string | undefined, query: string): void {
  const isSecond = authorization?.startsWith('AWS ') || /(?:^|&)AWSAccessKeyId=/.test(query)
  const isOther = authorization?.startsWith('AWS4-') || authorization?.startsWith('AWS3')
  if (!isSecond && !isOther) return
  const what = isSecond ? 'Signature Version 2' : 'This way of signing'
  throw new StorageError('InvalidRequest', {
    message: `${what} is not supported: use Signature Version 4 (AWS4-HMAC-SHA256)`,
  })
}

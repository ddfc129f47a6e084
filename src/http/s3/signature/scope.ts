import { printable } from '../../../lib/printable.ts'
import { StorageError } from '../../../model/errors.ts'

/** What a signing key is good for, as a credential names it: `AKID/20130524/us-east-1/s3/aws4_request`. */
export interface CredentialScope {
  accessKeyId: string
  /** Such as `20130524`. */
  date: string
  region: string
  /** All behind the access key, as it is signed. */
  text: string
}

/** Says which region a request should have been for; an error's document has it, too. */
export const REGION_HEADER = 'x-amz-bucket-region'

/** Regions that every client may sign for: what tools say by themselves, and nothing. */
const COMMON_REGIONS = new Set(['us-east-1', 'auto', ''])

/**
 * @param region that of this server
 * @throws InvalidAuthorization when it is malformed, or of another region, service or day
 */
export function parseCredential(credential: string, at: string, region: string): CredentialScope {
  // The access key may have slashes, the others have none.
  const parts = credential.split('/')
  const [date = '', given = '', service = '', end = ''] = parts.slice(-4)
  const accessKeyId = parts.slice(0, -4).join('/')
  if (accessKeyId === '' || end !== 'aws4_request') {
    throw malformed('the credential must be <access key>/<date>/<region>/s3/aws4_request')
  }
  if (service !== 's3') throw malformed(`the service of the credential must be s3, not "${service}"`)
  if (given !== region && !COMMON_REGIONS.has(given)) {
    // Some clients, such as s3cmd, try it again with the region that they are told.
    throw malformed(`the region '${given}' is wrong; expecting '${region}'`, { [REGION_HEADER]: region })
  }
  if (date !== at.slice(0, 8)) throw malformed('the date of the credential must be the day of x-amz-date')
  return { accessKeyId, date, region: given, text: `${date}/${given}/s3/aws4_request` }
}

export function malformed(what: string, headers: Record<string, string> = {}): StorageError {
  return new StorageError('InvalidAuthorization', {
    message: `The authorization is malformed: ${printable(what)}`,
    headers,
  })
}

import { StorageError } from '../../../model/errors.ts'
import { ALGORITHM } from './header.ts'
import { refuseOtherSchemes } from './other-schemes.ts'

/** What a form says of its signature, which is over the policy (wire §6.8). */
export interface FormSignature {
  /** In base64, as it was signed. */
  policy: string
  credential: string
  /** As `20130524T000000Z`. */
  at: string
  /** In hex. */
  signature: string
  token: string | undefined
}

/** @param fields by their names in lower case @throws AccessDenied, InvalidRequest */
export function signatureInForm(fields: ReadonlyMap<string, string>): FormSignature {
  const policy = fields.get('policy')
  const credential = fields.get('x-amz-credential')
  const at = fields.get('x-amz-date')
  const signature = fields.get('x-amz-signature')
  if (fields.has('awsaccesskeyid')) refuseOtherSchemes('AWS ', '')
  if (!policy || !credential || !at || !signature || fields.get('x-amz-algorithm') !== ALGORITHM) {
    throw new StorageError('AccessDenied', {
      message:
        'A form needs the fields Policy, X-Amz-Algorithm (AWS4-HMAC-SHA256), X-Amz-Credential, X-Amz-Date and X-Amz-Signature',
    })
  }
  return { policy, credential, at, signature, token: fields.get('x-amz-security-token') }
}

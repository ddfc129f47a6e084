import { amzDate, hmac, type S3Keys, scopeOf, signingKey } from './s3-signer.ts'

/** What a policy wants of a field. */
export type Condition = Record<string, string> | (string | number)[]

export interface FormSigning {
  bucket: string
  keys: S3Keys
  conditions?: Condition[]
}

/** A form as a browser would send it, but for the file, which comes last. All fields are allowed as they are, unless there are other conditions. */
export function signedForm(
  fields: Record<string, string>,
  { bucket, keys, conditions = [] }: FormSigning,
): FormData {
  const signed: Record<string, string> = {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${keys.accessKeyId}/${scopeOf({})}`,
    'X-Amz-Date': amzDate(new Date()),
    ...(keys.sessionToken !== undefined && { 'X-Amz-Security-Token': keys.sessionToken }),
  }
  const hasOwn = conditions.some((condition) => Array.isArray(condition) && condition[1] === '$key')
  const asTheyAre = Object.entries(fields).filter(([field]) => !hasOwn || field !== 'key')
  const document = {
    expiration: new Date(Date.now() + 60_000).toISOString(),
    conditions: [{ bucket }, ...asTheyAre.map(([field, text]) => ({ [field]: text })), ...conditions],
  }
  const policy = Buffer.from(JSON.stringify(document)).toString('base64')
  const form = new FormData()
  for (const [field, text] of Object.entries({ ...fields, ...signed, Policy: policy }))
    form.append(field, text)
  form.append('X-Amz-Signature', hmac(signingKey(keys, scopeOf({})), policy).toString('hex'))
  return form
}

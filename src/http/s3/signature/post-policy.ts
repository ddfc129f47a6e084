import { parseJson } from '../../../lib/bounded-json.ts'
import { printable } from '../../../lib/printable.ts'
import { StorageError } from '../../../model/errors.ts'

/** What a form may hold, as its signer has laid it down (AWS Signature Version 4, "POST policy"; wire §6.8). */
export interface PostPolicy {
  /** Of the file, in bytes. */
  minBytes: number
  maxBytes: number
}

/** Fields that the policy need not name: what is signed, or signs, and what means nothing. */
const FREE_FIELDS = new Set([
  'policy',
  'file',
  'x-amz-signature',
  'x-amz-algorithm',
  'x-amz-credential',
  'x-amz-date',
  'x-amz-security-token',
])

/**
 * Holds a form against its policy, whose signature is good.
 *
 * @param fields by their names in lower case, all of them but the file
 * @param bucket that of the URL, which has to be named as a field has: a form is good for one
 * @throws InvalidPolicyDocument when it is no policy; ExpiredToken; AccessDenied when the form breaks it
 */
export function checkPolicy(
  { fields, bucket }: { fields: ReadonlyMap<string, string>; bucket: string },
  now: Date,
): PostPolicy {
  const { expiration, conditions } = readPolicy(fields.get('policy') ?? '')
  const untilMs = typeof expiration === 'string' ? Date.parse(expiration) : Number.NaN
  if (Number.isNaN(untilMs)) throw invalid('it needs an expiration such as 2030-01-01T12:00:00Z')
  if (untilMs < now.getTime()) {
    throw new StorageError('ExpiredToken', {
      message: `The policy was good until ${new Date(untilMs).toISOString()}, and it is ${now.toISOString()}`,
    })
  }
  if (!Array.isArray(conditions)) throw invalid('it needs a list of conditions')
  const length = { minBytes: 0, maxBytes: Number.POSITIVE_INFINITY }
  const covered = new Set(FREE_FIELDS)
  const sent = (field: string) => (field === 'bucket' ? bucket : fields.get(field))
  for (const condition of conditions.flatMap(asConditions)) {
    if (condition.kind === 'length') {
      length.minBytes = Math.max(length.minBytes, condition.min)
      length.maxBytes = Math.min(length.maxBytes, condition.max)
      continue
    }
    const { kind, field, text } = condition
    const value = sent(field)
    const holds = kind === 'is' ? value === text : value?.startsWith(text)
    if (!holds) throw broken(`the condition for ${field} does not hold`)
    covered.add(field)
  }
  for (const field of ['bucket', ...fields.keys()]) {
    if (!covered.has(field) && !field.startsWith('x-ignore-')) throw broken(`the field ${field} is not in it`)
  }
  return length
}

type Condition =
  | { kind: 'is' | 'starts-with'; field: string; text: string }
  | { kind: 'length'; min: number; max: number }

function readPolicy(base64: string): { expiration?: unknown; conditions?: unknown } {
  try {
    const policy = parseJson(Buffer.from(base64, 'base64').toString())
    if (policy !== null && typeof policy === 'object') return policy
  } catch (cause) {
    throw invalid('it is no JSON in base64', cause)
  }
  throw invalid('it is no JSON object')
}

/** An entry of the list, which may be an object of several fields. */
function asConditions(entry: unknown): Condition[] {
  if (Array.isArray(entry)) return [asCondition(entry)]
  if (entry === null || typeof entry !== 'object') throw invalid('a condition is an object or a list')
  return Object.entries(entry).map(([name, text]) => {
    if (typeof text !== 'string') throw invalid(`the condition for ${name} is no text`)
    return { kind: 'is', field: name.toLowerCase(), text }
  })
}

function asCondition([operator, ...operands]: unknown[]): Condition {
  const name = typeof operator === 'string' ? operator.toLowerCase() : ''
  if (name === 'content-length-range') {
    const [min, max] = operands.map(asBytes)
    if (min === undefined || max === undefined)
      throw invalid('content-length-range needs two numbers of bytes')
    return { kind: 'length', min, max }
  }
  const [field, text] = operands
  if ((name !== 'eq' && name !== 'starts-with') || typeof field !== 'string' || typeof text !== 'string') {
    throw invalid('a condition in a list is eq, starts-with or content-length-range')
  }
  if (!field.startsWith('$')) throw invalid(`the field of a condition begins with a dollar sign: $${field}`)
  return { kind: name === 'eq' ? 'is' : 'starts-with', field: field.slice(1).toLowerCase(), text }
}

/** A number, which may be written as a text. */
function asBytes(value: unknown): number | undefined {
  const bytes = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value
  return typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : undefined
}

function invalid(what: string, cause?: unknown): StorageError {
  return new StorageError('InvalidPolicyDocument', {
    message: `The form's policy is malformed: ${printable(what)}`,
    cause,
  })
}

function broken(what: string): StorageError {
  return new StorageError('AccessDenied', {
    message: `The form is not what its policy allows: ${printable(what)}`,
  })
}

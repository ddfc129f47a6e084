import { z } from 'zod'
import type { Rate, RequestKind } from '../model/rate.ts'
import { setting } from './setting.ts'

const MAX_REQUESTS = 1_000_000
const MAX_SECONDS = 86_400

const MALFORMED = `must be requests in seconds, such as 100/10: at most ${MAX_REQUESTS}, in at most ${MAX_SECONDS}`

const rate = z.string().transform((text, context): Rate => {
  const [, requests = 0, seconds = 0] = (/^(\d{1,7})\/(\d{1,5})$/.exec(text) ?? []).map(Number)
  if (requests > 0 && requests <= MAX_REQUESTS && seconds > 0 && seconds <= MAX_SECONDS) {
    return { requests, windowMs: seconds * 1000 }
  }
  context.addIssue({ code: 'custom', message: MALFORMED })
  return z.NEVER
})

const limit = (kind: Uppercase<RequestKind>, help: string) =>
  setting(`STORAGE_RATE_LIMIT_${kind}`, rate, { help, example: '100/10' })

/** Of each subject, access key or address, on all servers together (decision 0063). */
export const RATE_LIMITS_TABLE = {
  read: limit(
    'READ',
    'downloads, lists and looks that one client may ask for, as requests in seconds: `100/10` (see [Limits](limits.md#rates))',
  ),
  write: limit('WRITE', 'uploads, pieces of uploads, copies, moves and deletions'),
  sign: limit('SIGN', 'signed URLs'),
  admin: limit('ADMIN', 'changes of buckets; webhooks, access keys, backups'),
}

import { refusalOf } from '../../model/errors.ts'
import type { Outcome, RequestCounts } from '../../telemetry/metrics/request-counts.ts'
import type { OnRequestEnd, RequestEnd } from '../request-end.ts'
import type { RequestNotes } from '../surface.ts'

/** Counts each request, when it is over. */
export function requestMetrics(counts: RequestCounts): OnRequestEnd {
  return ({ surface, notes }, end) => {
    const code = notes.failure?.code
    counts.add(surface.name, notes, {
      outcome: outcomeOf(notes, end),
      seconds: end.ms / 1000,
      refused: code && refusalOf(code) ? code : undefined,
      locked: code === 'ObjectLocked' ? 1 : (notes.locked ?? 0),
    })
  }
}

/** By the true status, where an answer has another one (wire §1.6). What a client has broken off is its own doing. */
function outcomeOf({ failure }: RequestNotes, end: RequestEnd): Outcome {
  const status = failure?.status ?? end.status
  if (status >= 500) return 'error'
  if (status === 401 || status === 403) return 'denied'
  return status >= 400 || end.aborted ? 'invalid' : 'success'
}

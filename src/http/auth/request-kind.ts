import type { RequestKind } from '../../model/rate.ts'

/** What belongs to the one who runs the server, in looking at it, too. */
const ADMINISTERED = new Set(['webhook', 'credential', 'backup'])

/** What issues URLs, whatever it is called. */
const ISSUING = new Set(['storage.share.info', 'storage.share.access', 'storage.share.download'])

/** First words of what changes nothing. */
const READING = /^(?:get|head|health|info|list|read|exists|connect|stats)(?:_|$)/

const kinds = new Map<string, RequestKind>()

/** Which limit an operation falls under. @param operation one of ours, such as `storage.object.upload`, not a client's text */
export function kindOf(operation: string): RequestKind {
  let kind = kinds.get(operation)
  if (kind === undefined) {
    kind = findKind(operation)
    kinds.set(operation, kind)
  }
  return kind
}

function findKind(operation: string): RequestKind {
  const words = operation.split('.')
  const verb = words.at(-1) ?? ''
  if (words.some((word) => ADMINISTERED.has(word))) return 'admin'
  if (verb.startsWith('sign') || ISSUING.has(operation)) return 'sign'
  if (READING.test(verb)) return 'read'
  return words.includes('bucket') || words.includes('lifecycle') ? 'admin' : 'write'
}

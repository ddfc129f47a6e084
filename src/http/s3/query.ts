import { StorageError } from '../../model/errors.ts'

/** More than any request has. Each is decoded, encoded and sorted to verify a signature, which anybody may send. */
const MOST_PARAMETERS = 200

/** A query's parameters, decoded; of a name that comes twice, the first. @throws InvalidRequest, also for too many */
export function parseQuery(query: string): ReadonlyMap<string, string> {
  if (query === '') return EMPTY
  const parameters = new Map<string, string>()
  const parts = query.split('&', MOST_PARAMETERS + 1)
  if (parts.length > MOST_PARAMETERS) throw malformed(`has more than ${MOST_PARAMETERS} parameters`)
  for (const part of parts) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = decode(equals < 0 ? part : part.slice(0, equals))
    if (!parameters.has(name)) parameters.set(name, equals < 0 ? '' : decode(part.slice(equals + 1)))
  }
  return parameters
}

const EMPTY: ReadonlyMap<string, string> = new Map()

const PLAIN = /^[\w.~-]*$/

function decode(text: string): string {
  if (PLAIN.test(text)) return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (cause) {
    throw malformed('has a malformed percent-encoding', cause)
  }
}

function malformed(what: string, cause?: unknown): StorageError {
  return new StorageError('InvalidRequest', { message: `The query ${what}`, cause })
}

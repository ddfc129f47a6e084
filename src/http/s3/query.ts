import { StorageError } from '../../model/errors.ts'

/** A query's parameters, decoded; of a name that comes twice, the first. @throws InvalidRequest */
export function parseQuery(query: string): ReadonlyMap<string, string> {
  if (query === '') return EMPTY
  const parameters = new Map<string, string>()
  for (const part of query.split('&')) {
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
    throw new StorageError('InvalidRequest', {
      message: 'The percent-encoding of the query is malformed',
      cause,
    })
  }
}

import { StorageError } from '../../model/errors.ts'
import { isObjectName, type NameRules, type ObjectName, parseObjectName } from './object-name.ts'

/** By what a name is made where its bucket does not say (docs/attributes.md). */
const TEMPLATE = 'users/{user_id}/{year}/{month}/{day}/{timestamp}_{random8}_{file_name}'

/** Of a name that is made: which clients and file systems take as they are. In bytes of UTF-8. */
const MAX_MADE_BYTES = 255

/** Of a template, in characters. */
const MAX_TEMPLATE = 255

/** What makes a name, beside the file's: kept, so that the same request makes the same one again. */
export interface Making {
  /** In milliseconds since 1970. */
  at: number
  /** Eight hexadecimal digits. */
  random: string
}

export interface NamedFile {
  /** Null for nobody in particular. */
  userId: string | null
  /** As its owner calls it. */
  fileName: string
}

const PLACE = /\{([^{}]*)\}/g

/**
 * The name of an upload that comes without one. What no name may have is `_` in it, and so are slashes of what a place stands for.
 *
 * @param template of the bucket; null: our own
 */
export function makeName(
  template: string | null,
  rules: NameRules,
  { at, random }: Making,
  { userId, fileName }: NamedFile,
): ObjectName {
  const [date = '', time = ''] = new Date(at).toISOString().split(/[T.]/)
  const [year = '', month = '', day = ''] = date.split('-')
  const values: Record<string, string> = {
    user_id: userId ?? 'anonymous',
    year,
    month,
    day,
    timestamp: `${year}${month}${day}_${time.replaceAll(':', '')}`,
    random8: random,
  }
  const filled = (lastPart: string) =>
    (template ?? TEMPLATE).replace(PLACE, (_, place: string) =>
      place === 'file_name' ? lastPart : legal(values[place] ?? '', rules),
    )
  const left = MAX_MADE_BYTES - Buffer.byteLength(filled(''))
  return parseObjectName(filled(shortened(legal(fileName, rules), Math.max(left, 0))), rules)
}

/** Whether a template makes a name for one request alone: whoever finds something there knows whose it is. */
export function isForOneRequest(template: string | null): boolean {
  return (template ?? TEMPLATE).includes('{random8}')
}

/** @throws InvalidRequest for one by which no name could be made, or places that nothing stands for */
export function parsePathTemplate(text: string, rules: NameRules): string {
  const wrong = (reason: string) => new StorageError('InvalidRequest', { message: `path_template ${reason}` })
  if (text.length > MAX_TEMPLATE) throw wrong(`must have at most ${MAX_TEMPLATE} characters`)
  const places = [...text.matchAll(PLACE)].map(([, place = '']) => place)
  const unknown = places.find((place) => !PLACES.includes(place))
  if (unknown !== undefined) throw wrong(`may have {${PLACES.join('}, {')}}`)
  if (!places.includes('random8') && !places.includes('file_name'))
    throw wrong('must have {random8} or {file_name}')
  // The longest of what is said of a user is no more than a sign where it would be too long.
  if (!isObjectName(text.replace(PLACE, 'a'), rules)) throw wrong('makes no legal name')
  return text
}

const PLACES = ['user_id', 'year', 'month', 'day', 'timestamp', 'random8', 'file_name']

/** What may stand between two slashes of a name. */
function legal(text: string, rules: NameRules): string {
  const signs = [...text].map((sign) => (sign !== '/' && isObjectName(`a${sign}a`, rules) ? sign : '_'))
  const part = signs.join('')
  return /^\.{0,2}$/.test(part) ? '_'.repeat(Math.max(part.length, 1)) : part
}

/** Its beginning and its extension, in so many bytes. */
function shortened(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes) return text
  const [extension = ''] = /\.[^.]{1,15}$/.exec(text) ?? []
  const end = Buffer.byteLength(extension) < maxBytes ? extension : ''
  const signs = [...text.slice(0, text.length - end.length)]
  let bytes = Buffer.byteLength(end)
  let kept = ''
  for (const sign of signs) {
    bytes += Buffer.byteLength(sign)
    if (bytes > maxBytes) break
    kept += sign
  }
  return kept + end
}

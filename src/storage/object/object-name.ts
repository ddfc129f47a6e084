import { printable } from '../../lib/printable.ts'
import { isStorable } from '../../lib/storable-text.ts'
import { StorageError } from '../../model/errors.ts'

/** The path of an object inside its bucket: text that `parseObjectName` let through, exactly as sent. */
export type ObjectName = string & { readonly brand: 'ObjectName' }

/** `default` is Unicode paths (design §8); `supabase` is the ASCII set of wire §3.1. */
export type NameRules = 'default' | 'supabase'

/** Design §8; also the longest key that S3 clients know (wire §3.1). In bytes of UTF-8. */
const MAX_NAME_BYTES = 1024

/** Above any legal name, and still nothing to PostgreSQL as a parameter. In bytes of UTF-8. */
const MAX_LOOKUP_BYTES = 4096

/** C0, DEL and C1 controls (Unicode `Cc`), and surrogates without a partner, which have no UTF-8 form. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u

/** A `.` or `..` segment: HTTP clients and proxies resolve it away, so such a name cannot be asked for. */
const DOT_SEGMENT = /(?:^|\/)\.\.?(?:\/|$)/

/** Wire §3.1. `..` is legal here, and harmless: no name ever becomes a path (design §5). */
const SUPABASE_CHARACTERS = /^[\w !\-.*'()&$@=;:+,?/]+$/

/**
 * Accepts a name or refuses it; never repairs it, so that what is stored is what was asked for.
 *
 * @throws InvalidKey whose cause says which rule it breaks
 */
export function parseObjectName(text: string, rules: NameRules): ObjectName {
  if (isObjectName(text, rules)) return text
  // The sentence is one that clients compare (wire §1.8); the rule is for surfaces whose clients do not.
  const cause = new Error(brokenRule(text, rules))
  throw new StorageError('InvalidKey', { message: `Invalid key: ${printable(text)}`, cause })
}

function brokenRule(text: string, rules: NameRules): string {
  if (!fits(text, MAX_NAME_BYTES)) return `a key has at most ${MAX_NAME_BYTES} bytes here`
  if (rules === 'supabase' && text !== '') {
    return "a key has only letters of a-z and A-Z, digits, blanks and _!-.*'()&$@=;:+,?/ here"
  }
  if (UNPRINTABLE.test(text)) return 'a key has no control characters here'
  if (DOT_SEGMENT.test(text)) return 'no part between slashes may be . or .. here'
  if (text.startsWith('/')) return 'a key does not begin with a slash here'
  return text === '' ? 'a key is not empty' : 'a name does not end with a slash here'
}

/** The same for who only looks: under any other name there is nothing. */
export function isObjectName(text: string, rules: NameRules): text is ObjectName {
  const isLegal = rules === 'supabase' ? SUPABASE_CHARACTERS.test(text) : isDefaultName(text)
  return isLegal && fits(text, MAX_NAME_BYTES)
}

/**
 * Whether PostgreSQL can hold `text`, so that it may be looked up even where no object can have that name
 * (bulk delete leaves unknown names out silently, wire §3.8; it must not fail on them).
 */
export function isStorableText(text: string): boolean {
  return isStorable(text) && fits(text, MAX_LOOKUP_BYTES)
}

/** Whether the object only marks an empty folder: it must have 0 bytes, and may have any type (wire §3.1). */
export function isEmptyFolderPlaceholder(name: string): boolean {
  return name.endsWith('.emptyFolderPlaceholder')
}

function isDefaultName(text: string): boolean {
  return (
    text !== '' &&
    !text.startsWith('/') &&
    !text.endsWith('/') &&
    !DOT_SEGMENT.test(text) &&
    !UNPRINTABLE.test(text)
  )
}

/** A UTF-16 unit takes at least one byte, so a length already over the limit need not be encoded. */
function fits(text: string, maxBytes: number): boolean {
  return text.length <= maxBytes && Buffer.byteLength(text) <= maxBytes
}

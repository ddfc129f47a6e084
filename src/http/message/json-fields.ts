import { z } from 'zod'
import { nearest } from '../../lib/nearest.ts'
import { printable } from '../../lib/printable.ts'

/*
 * Fields of JSON bodies, as lenient as Supabase's framework, whose clients have come to rely on it: the Python SDK sends
 * a link's lifetime as a text. What a field means is decided by its own schema, after it has its type. Nothing is guessed:
 * a text that is no whole number stays a text, and is refused.
 */

/** A whole number, which may come as its decimal text. */
export function integer<T extends z.ZodType<number | undefined>>(schema: T) {
  return z.preprocess(
    (value) => (typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value),
    schema,
  )
}

const FLAGS = new Map<unknown, boolean>([
  ['true', true],
  ['false', false],
  [1, true],
  [0, false],
])

/** A boolean, which may come as `"true"`, `"false"`, 1 or 0. */
export function flag() {
  return z.preprocess((value) => FLAGS.get(value) ?? value, z.boolean('must be true or false'))
}

/** A list, of which one text may stand for itself. */
export function textList<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (typeof value === 'string' ? [value] : value), schema)
}

/** A field that need not be there: null says the same. */
export function optional<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => value ?? undefined)
}

/** A list of 1 to `max` objects' names. It is counted first, so that what is too long is not looked into. */
export function nameList(max: number) {
  return listOfObjects(max, z.string())
}

/** The same of what may name them otherwise. */
export function listOfObjects<T extends z.ZodType>(max: number, entry: T) {
  return textList(
    z.preprocess(
      (value, context) => {
        if (!Array.isArray(value) || value.length <= max) return value
        context.addIssue({ code: 'custom', message: `must name at most ${max} objects` })
        return z.NEVER
      },
      z.array(entry).min(1, 'must name at least one object').meta({ maxItems: max }),
    ),
  )
}

/**
 * An object with these fields and no others: a slip in an optional one would go unnoticed. (Under STORAGE_COMPAT=supabase
 * others mean nothing; `checkShape` knows.)
 */
export function fields<T extends z.ZodRawShape>(shape: T) {
  const known = Object.keys(shape)
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? noSuchField(issue.keys[0] ?? '', known) : undefined,
  })
}

function noSuchField(name: string, known: string[]): string {
  const meant = nearest(name, known)
  const advice = meant === undefined ? `it may have ${known.join(', ')}` : `did you mean ${meant}?`
  return `must not have the field ${printable(name)}: ${advice}`
}

/** A field that clients send along, and that means nothing here. */
export const ignored = z.unknown().optional().describe('Means nothing here: clients send it along.')

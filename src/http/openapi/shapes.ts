import { z } from 'zod'

// What is in answers again and again.

/** As JSON has a Date. */
export const time = z.string().meta({ format: 'date-time', example: '2026-11-21T15:04:05.678Z' })

export const uuid = z.string().meta({ format: 'uuid' })

/** A JSON object of somebody else's. */
export const anyObject = z.record(z.string(), z.unknown())

/** A part of a query that is a number: texts validate it. */
export function numeric(min: number) {
  return { type: 'integer', minimum: min }
}

/**
 * A shape that has more by default than under STORAGE_COMPAT=supabase, as `successResponse` answers.
 *
 * @param name what the document calls it
 */
export function shapeOf<Body extends z.ZodRawShape, Own extends z.ZodRawShape>(
  name: string,
  body: Body,
  own: Own,
): (server: { supabaseCompat: boolean }) => z.ZodObject {
  const compat = z.strictObject(body).meta({ id: name })
  const plain = z.strictObject({ ...own, ...body }).meta({ id: name })
  return ({ supabaseCompat }) => (supabaseCompat ? compat : plain)
}

const IN_COMPAT = 'Under STORAGE_COMPAT=supabase only where the bucket keeps versions, or has kept some.'

/** Which version an object is (wire §13.2). */
export const versionShape = {
  archived_at: time.nullable().optional().describe(`Null of what is there now. ${IN_COMPAT}`),
  is_versioned: z.boolean().optional().describe('Whether it was written while versions were on.'),
  is_delete_marker: z.boolean().optional(),
}

/** What an object says of itself (docs/attributes.md). */
export const attributeShape = {
  tags: z.array(z.string()),
  file_name: z.string().describe('Else the last part of its path.'),
  organization_id: z.string().nullable(),
  access_level: z.string().describe('`private` or `shared`.'),
  asset_type: z.string().describe('Else by its content type.'),
  enable_indexing: z.boolean(),
}

/** When it goes by itself; nulls, if it does not. */
export const autoDeletionShape = {
  auto_delete_after_days: z.int().nullable(),
  auto_delete_at: time.nullable(),
}

/** Of an object that goes by itself, in our own shape. */
export const autoDeleteShape = {
  auto_delete_after_days: z.int().optional().describe('Of an object that goes by itself.'),
  auto_delete_at: time.nullable().optional(),
}

/** A page of a list that goes on behind its last entry. */
export function pageOf(items: z.ZodType, next: z.ZodType) {
  return z.strictObject({
    items: z.array(items),
    next: next.nullable().describe('Where the next page begins; null where there is none.'),
  })
}

/** What is answered where there is nothing to tell but that it is done. */
export const message = z.strictObject({ message: z.string() }).meta({ id: 'Message' })

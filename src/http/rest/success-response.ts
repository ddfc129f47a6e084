import type { AppContext } from '../env.ts'

export interface Additions {
  /** The status by our own rules (design §8); Supabase's is always 200. */
  status?: 200 | 201 | 204
  /** Fields that only our own shape has. */
  fields?: Record<string, unknown>
}

/**
 * The one renderer of successful JSON answers that differ between the two modes: `body` is Supabase's (contract §2,
 * §3), and unless its exact wire is wanted (STORAGE_COMPAT=supabase), ours is added to it; where both have a field,
 * Supabase's stays.
 */
export function successResponse(
  c: AppContext,
  { supabaseCompat }: { supabaseCompat: boolean },
  body: Record<string, unknown>,
  { status = 200, fields = {} }: Additions = {},
): Response {
  if (supabaseCompat) return c.json(body)
  if (status === 204) return c.body(null, 204)
  return c.json({ ...fields, ...body }, status)
}

/** The same for a list. */
export function successList(
  c: AppContext,
  { supabaseCompat }: { supabaseCompat: boolean },
  items: { body: Record<string, unknown>; fields: Record<string, unknown> }[],
): Response {
  return c.json(items.map(({ body, fields }) => (supabaseCompat ? body : { ...fields, ...body })))
}

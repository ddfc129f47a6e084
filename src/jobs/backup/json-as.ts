import type { z } from 'zod'

/** What a text says, as JSON of a shape; null when it is none. */
export function jsonAs<T>(text: string, schema: z.ZodType<T>): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null
  } catch {
    return null
  }
}

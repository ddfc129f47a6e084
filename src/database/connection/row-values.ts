import { type SQL, sql } from 'drizzle-orm'

/** One parameter for any number of texts, so that the statement's text stays one and is prepared once. */
export function textArray(values: string[]): SQL {
  return sql`array(select jsonb_array_elements_text(${JSON.stringify(values)}::jsonb))`
}

import type postgres from '#postgres'

const asItIs = (text: unknown) => text

/**
 * How values are read and written where the driver's own way is not ours: dates stay the text that PostgreSQL writes,
 * which knows microseconds, and JSON is given as text. The numbers are those of the types (`pg_type.oid`).
 */
export const VALUE_TYPES: Record<string, postgres.PostgresType> = {
  dates: {
    to: 1184, // timestamptz
    // date, time, timestamp, timestamptz, and date[], timestamp[], timestamptz[], numeric[]
    from: [1082, 1083, 1114, 1184, 1182, 1115, 1185, 1231],
    parse: asItIs,
    serialize: asItIs,
  },
  json: {
    to: 3802, // jsonb
    from: [114, 3802], // json, jsonb
    parse: JSON.parse,
    serialize: asItIs,
  },
}

/** What the driver's types do not say of a query (postgres/src/query.js). */
export interface DriverQuery {
  /** Null until it is sent. */
  state: unknown
  /** Whether rows are wanted as `values()` or `raw()` give them. */
  isRaw?: unknown
  /** Called once, with the query itself, when somebody awaits it. */
  handler(self: unknown): void
  resolve(rows: unknown): void
  reject(error: unknown): void
  cancel(): void
}

/** One that is never handed to the driver, as a name, or values, is a part of another. */
export function asDriverQuery(given: unknown): DriverQuery | undefined {
  return given instanceof Promise ? (given as unknown as DriverQuery) : undefined
}

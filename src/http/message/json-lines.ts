import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { AppContext } from '../env.ts'

/** JSON with a line's end behind it, so that in a terminal the prompt does not stand in the answer. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

/** Makes what `c.json` answers such a line. No middleware: that would cost each request more than this does. */
export function answerInLines(c: AppContext): void {
  const json = (value: unknown, status?: ContentfulStatusCode, headers?: Record<string, string>) =>
    c.body(jsonLine(value), status, { 'Content-Type': 'application/json', ...headers })
  c.json = json as unknown as typeof c.json // whose type also tells Hono's own client what a route answers
}

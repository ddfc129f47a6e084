import { Agent, request } from 'undici'
import { LONGEST_WAIT_MS } from './back-off.ts'
import { type ConnectorOptions, connector, PrivateAddressError } from './connector.ts'
import type { WebhookMessage } from './message.ts'

/** What came of a request; the sentence holds nothing of what was sent. */
export type Answer =
  | { ok: true }
  | { ok: false; status: number | null; sentence: string; retryAfterMs: number }

/** So much of an answer is read, for the connection to be used again; nothing in it is looked at. In bytes. */
const MAX_ANSWER = 64 * 1024

/** Requests to one webhook, on connections of its own: what waits for one receiver is in no other's way. */
export class WebhookSender {
  readonly #timeoutMs: number
  readonly #agent: Agent

  /** @param options `timeoutMs` is for a whole request */
  constructor(options: ConnectorOptions & { connections: number }) {
    this.#timeoutMs = options.timeoutMs
    this.#agent = new Agent({ connections: options.connections, connect: connector(options) })
  }

  /** Never fails. Redirects are not followed: they are failures. */
  async send(url: string, { headers, body }: WebhookMessage): Promise<Answer> {
    const signal = AbortSignal.timeout(this.#timeoutMs)
    try {
      const answer = await request(url, {
        dispatcher: this.#agent,
        method: 'POST',
        headers: { 'content-type': 'application/json', 'user-agent': 'Strongroom', ...headers },
        body,
        signal,
      })
      const { statusCode: status } = answer
      // Its status is what it says; a rest that does not come changes nothing.
      await answer.body.dump({ limit: MAX_ANSWER, signal }).catch(() => {})
      if (status >= 200 && status < 300) return { ok: true }
      const isRedirect = status >= 300 && status < 400
      return {
        ok: false,
        status,
        sentence: isRedirect ? `redirects with ${status}, which is not followed` : `answers ${status}`,
        retryAfterMs: retryAfter(answer.headers['retry-after']),
      }
    } catch (error) {
      const sentence = signal.aborted ? 'does not answer in time' : connectionTrouble(error)
      return { ok: false, status: null, sentence, retryAfterMs: 0 }
    }
  }

  /** Ends its connections. */
  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}

/** How long a receiver wants to be left alone, in milliseconds, at most an hour (RFC 9110 §10.2.3). */
function retryAfter(value: string | string[] | undefined): number {
  if (typeof value !== 'string') return 0
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), LONGEST_WAIT_MS)
}

/** Why no connection came about, as what is said of its receiver. */
export function connectionTrouble(error: unknown): string {
  if (error instanceof PrivateAddressError) return 'has a private address, and allow_private is not true'
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
  return `cannot be reached: ${code}`
}

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect as dial } from 'node:net'
import { setImmediate as yieldToOthers } from 'node:timers/promises'
import {
  type NatsConnection as Client,
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  headers,
  PermissionViolationError,
  RequestError,
} from '@nats-io/transport-node'
import type { NatsSettings } from '../../config/nats.ts'

export interface NatsMessage {
  subject: string
  /** By which a stream knows that it has the message already. */
  id: string
  /** Whose trace it goes on with, if any. */
  traceparent: string | null
  body: string
}

/** How long NATS may take for an answer, in milliseconds. */
const ANSWER_MS = 5000

/** How long it is remembered whether a stream takes a subject, in milliseconds. */
const STREAM_KNOWN_MS = 5000

/** In bytes, of the headers that we send with a message, and more. */
const HEADERS_SIZE = 128

/** A connection to NATS for as long as it lasts: it never connects again by itself. */
export class NatsConnection {
  /** Aborted when the connection is lost. */
  readonly lost: AbortSignal
  readonly #client: Client
  /** Whether a stream takes a subject, and how long that is believed. */
  readonly #streams = new Map<string, { isThere: boolean; until: number }>()
  /** What the server said about subjects that we may not send to. */
  readonly #refusals = new Map<string, Error>()

  private constructor(client: Client) {
    this.#client = client
    const lost = new AbortController()
    this.lost = lost.signal
    void client.closed().then((error) => lost.abort(error ?? new Error('the connection to NATS has ended')))
    void this.#listen()
  }

  /** @throws what is wrong: nobody there, no TLS, not let in; or the signal's reason */
  static async open(settings: NatsSettings, signal: AbortSignal): Promise<NatsConnection> {
    const servers = await answering(settings.servers, signal)
    const opening = connect({
      servers,
      name: 'strongroom',
      ...(settings.requiresTls && { tls: {} }),
      ...(await credentials(settings)),
      reconnect: false,
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
      timeout: ANSWER_MS,
    })
    try {
      return new NatsConnection(await unlessAborted(opening, signal))
    } catch (error) {
      // It cannot be called off.
      opening.then((client) => client.close()).catch(() => {})
      throw error
    }
  }

  /** Whether a message is small enough for this server. */
  takes({ body }: NatsMessage): boolean {
    const { max_payload: most = Number.POSITIVE_INFINITY } = this.#client.info ?? {}
    return Buffer.byteLength(body) + HEADERS_SIZE <= most
  }

  /**
   * Sends messages, in order. Each has arrived once the stream that takes its subject has stored it; where there is no
   * such stream, once the server has read it. One that fails does not keep those behind it back.
   *
   * @returns how many have arrived up to the first that has failed, and why that one has
   */
  async send(messages: NatsMessage[]): Promise<{ arrived: number; failure?: unknown }> {
    try {
      for (const { subject } of messages) await this.#findStream(subject)
    } catch (failure) {
      return { arrived: 0, failure }
    }
    this.#refusals.clear()
    let received: Promise<void> | undefined
    const results = await Promise.allSettled(
      messages.map(async (message) => {
        if (this.#streams.get(message.subject)?.isThere) return this.#store(message)
        this.#client.publish(message.subject, message.body, { headers: marked(message) })
        // Asked once all of them are on their way.
        received ??= Promise.resolve().then(() => this.#received())
        await received
        const refusal = this.#refusals.get(message.subject)
        if (refusal) throw refusal
      }),
    )
    const first = results.findIndex(({ status }) => status === 'rejected')
    const failed = results[first]
    return failed?.status === 'rejected'
      ? { arrived: first, failure: failed.reason }
      : { arrived: messages.length }
  }

  async close(): Promise<void> {
    await this.#client.close()
  }

  async #store(message: NatsMessage): Promise<void> {
    const { subject, body } = message
    const answer = await this.#client.request(subject, body, { timeout: ANSWER_MS, headers: marked(message) })
    const { error } = answer.json<JetStreamAnswer>()
    if (error) throw new Error(`the stream refuses: ${error.description}`)
  }

  /** Resolves once the server has read all that was sent. */
  async #received(): Promise<void> {
    const timeout = AbortSignal.timeout(ANSWER_MS)
    await unlessAborted(this.#client.flush(), AbortSignal.any([this.lost, timeout]))
    await yieldToOthers() // #listen hears what was said before
  }

  /** Finds out whether a stream takes a subject, if that is not known. */
  async #findStream(subject: string): Promise<void> {
    const known = this.#streams.get(subject)
    if (known && known.until > Date.now()) return
    const isThere = await this.#askForStream(subject)
    this.#streams.set(subject, { isThere, until: Date.now() + STREAM_KNOWN_MS })
  }

  async #askForStream(subject: string): Promise<boolean> {
    // https://docs.nats.io/reference/reference-protocols/nats_api_reference
    const question = JSON.stringify({ subject })
    try {
      const answer = await this.#client.request('$JS.API.STREAM.NAMES', question, { timeout: ANSWER_MS })
      const { error, streams } = answer.json<JetStreamAnswer & { streams?: string[] | null }>()
      if (error && !NOT_ENABLED.has(error.err_code)) throw new Error(`JetStream: ${error.description}`)
      return (streams ?? []).length > 0
    } catch (error) {
      const isAway = error instanceof RequestError && error.isNoResponders()
      const isForbidden = error instanceof RequestError && error.cause instanceof PermissionViolationError
      if (isAway || isForbidden) return false
      throw error
    }
  }

  async #listen(): Promise<void> {
    for await (const status of this.#client.status()) {
      if (status.type !== 'error' || !(status.error instanceof PermissionViolationError)) continue
      this.#refusals.set(status.error.subject, status.error)
    }
  }
}

interface JetStreamAnswer {
  error?: { err_code: number; description: string }
}

/** JetStream is off: on the server, for the account. */
const NOT_ENABLED = new Set([10076, 10039])

function marked({ id, traceparent }: NatsMessage) {
  const marks = headers()
  marks.set('Nats-Msg-Id', id)
  if (traceparent !== null) marks.set('traceparent', traceparent)
  return marks
}

/**
 * The servers that say something when they are called. The client would find out too, but what it has begun cannot be
 * called off: a server that says nothing, or a network that loses packets, would keep this process from ending.
 *
 * @param servers as `host:port`
 * @throws what is wrong with the last one, if there is none
 */
async function answering(servers: string[], signal: AbortSignal): Promise<string[]> {
  const calls = await Promise.allSettled(servers.map((server) => call(server, signal)))
  signal.throwIfAborted()
  const last = calls.at(-1)
  if (last?.status === 'rejected' && calls.every(({ status }) => status === 'rejected')) throw last.reason
  return servers.filter((_, index) => calls[index]?.status === 'fulfilled')
}

async function call(server: string, signal: AbortSignal): Promise<void> {
  const { hostname, port } = new URL(`nats://${server}`)
  const socket = dial({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) })
  try {
    // It is the server that speaks first.
    await unlessAborted(once(socket, 'data'), AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]))
  } finally {
    socket.destroy()
  }
}

async function credentials({ login, credentialsFile }: NatsSettings): Promise<ConnectionOptions> {
  if (credentialsFile !== undefined)
    return { authenticator: credsAuthenticator(await readFile(credentialsFile)) }
  if (login === undefined) return {}
  return 'token' in login ? { token: login.token } : { user: login.user, pass: login.password }
}

/** What a promise gives, unless the signal is first. @throws the signal's reason */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const stop = new AbortController()
  const aborted = once(signal, 'abort', { signal: stop.signal }).then(() => {
    throw signal.reason
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    aborted.catch(() => {})
    stop.abort()
  }
}

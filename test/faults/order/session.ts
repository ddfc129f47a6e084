import { type Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { type S3Keys, signRequest } from '../../support/s3-signer.ts'
import type { ServerProcess } from './servers.ts'

/** No answer takes as long. In milliseconds. */
const PATIENCE_MS = 60_000

/** What came back. */
export interface Reply {
  status: number
  headers: IncomingHttpHeaders
  bytes: Buffer
}

export interface Sent {
  headers?: Record<string, string>
  /** An object is sent as JSON. */
  body?: Buffer | object
}

/** Who asks. */
export interface Identity {
  token: string
  keys: S3Keys
}

/** Requests of one operation, each sent once: whether it is sent again is for the operation to say. */
export class Session {
  /** Those that have not said what became of a request. */
  readonly unclear = new Set<ServerProcess>()
  #last: ServerProcess | undefined

  /**
   * @param processes of which the first is asked, until it does not answer
   * @param cutAfterMs so long after it was sent a request's connection is cut
   */
  constructor(
    private readonly agent: Agent,
    private readonly identity: Identity,
    private readonly processes: ServerProcess[],
    private readonly cutAfterMs?: number,
  ) {}

  /** Who has acknowledged the operation; undefined when another one may have carried it out, and only told of it. */
  get answeredBy(): ServerProcess | undefined {
    return this.unclear.size === 0 ? this.#last : undefined
  }

  /** Asks another server from now on, if there is one. */
  turn(): void {
    this.processes.push(...this.processes.splice(0, 1))
  }

  /** By the REST API, or TUS. @returns undefined when nobody knows what became of it */
  rest(method: string, path: string, { headers, body }: Sent = {}): Promise<Reply | undefined> {
    const isBytes = body === undefined || Buffer.isBuffer(body)
    return this.#ask(method, `/storage/v1${path}`, {
      headers: () => ({
        authorization: `Bearer ${this.identity.token}`,
        ...(!isBytes && { 'content-type': 'application/json' }),
        ...headers,
      }),
      body: isBytes ? body : Buffer.from(JSON.stringify(body)),
    })
  }

  /** Without a token. */
  anonymous(method: string, path: string): Promise<Reply | undefined> {
    return this.#ask(method, `/storage/v1${path}`, { headers: () => ({}), body: undefined })
  }

  /** By S3. @param target such as `/bucket/key?acl` */
  s3(
    method: string,
    target: string,
    { headers, body }: { headers?: Record<string, string>; body?: Buffer } = {},
  ): Promise<Reply | undefined> {
    const path = `/storage/v1/s3${target}`
    return this.#ask(method, path, {
      headers: (url) =>
        signRequest(
          { method, url: `${url}${path}`, ...(headers && { headers }), ...(body && { body }) },
          this.identity.keys,
        ),
      body,
    })
  }

  async #ask(
    method: string,
    path: string,
    { headers, body }: { headers: (url: string) => Record<string, string>; body: Buffer | undefined },
  ): Promise<Reply | undefined> {
    const [process] = this.processes
    if (!process) throw new Error('nobody is asked')
    const reply = await new Promise<Reply | undefined>((resolve) => {
      const request = httpRequest(
        `${process.url}${path}`,
        {
          method,
          agent: this.agent,
          headers: { ...headers(process.url), ...(body && { 'content-length': body.length }) },
        },
        (response) => {
          const pieces: Buffer[] = []
          response.on('data', (piece: Buffer) => pieces.push(piece))
          response.on('close', () => {
            const { statusCode: status = 0, headers } = response
            resolve(response.complete ? { status, headers, bytes: Buffer.concat(pieces) } : undefined)
          })
          response.on('error', () => {}) // 'close' follows
        },
      )
      request.on('error', () => resolve(undefined))
      request.setTimeout(PATIENCE_MS, () => request.destroy())
      if (this.cutAfterMs !== undefined) setTimeout(() => request.destroy(), this.cutAfterMs)
      request.end(body)
    })
    // Neither do they who could not find out, or had no time.
    const isClear = reply !== undefined && reply.status < 500 && reply.status !== 429 && reply.status !== 423
    if (isClear) this.#last = process
    else this.unclear.add(process)
    return isClear ? reply : undefined
  }
}

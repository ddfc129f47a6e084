import { connect, type Socket } from 'node:net'

/** A response as it came over the wire. */
export interface RawResponse {
  status: number
  /** Names in lower case; of a repeated header, the values joined by a comma. */
  headers: Record<string, string>
  body: Buffer
  /** False when the connection ended before the body did. */
  complete: boolean
  json(): Record<string, unknown>
}

/**
 * The bytes of an HTTP/1.1 request, exactly as written here: nothing is normalised, checked or counted. Text is
 * sent as UTF-8.
 *
 * @param headers whole lines without their ends, such as `Host: x`. `Host: test` is added if none names a host,
 *   and `Content-Length` if none speaks of the body's length and there is one.
 */
export function rawRequest(
  method: string,
  target: string | Buffer,
  headers: (string | Buffer)[] = [],
  body: string | Buffer = '',
): Buffer {
  const names = headers.map((line) => line.toString('latin1').split(':')[0]?.trim().toLowerCase())
  const lines = [...headers]
  if (!names.includes('host')) lines.unshift('Host: test')
  const bytes = bytesOf(body)
  const framed = names.includes('content-length') || names.includes('transfer-encoding')
  if (!framed && bytes.length > 0) lines.push(`Content-Length: ${bytes.length}`)
  return Buffer.concat(
    [
      [method, ' ', target, ' HTTP/1.1\r\n'],
      lines.flatMap((line) => [line, '\r\n']),
      ['\r\n', bytes],
    ].flatMap((parts) => parts.map(bytesOf)),
  )
}

/** The same bytes where they are bytes already: some are many. */
function bytesOf(part: string | Buffer): Buffer {
  return typeof part === 'string' ? Buffer.from(part) : part
}

/** One chunk of a chunked body; an empty one ends it (RFC 9112 §7.1). */
export function chunk(bytes: string | Buffer): Buffer {
  const data = bytesOf(bytes)
  return Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')])
}

/** A connection on which bytes go out as they are given, and responses are read one by one. */
export class RawConnection {
  readonly #socket: Socket
  /** What has come and was not taken yet. */
  #pieces: Buffer[] = []
  #length = 0
  #closed = false
  #wake: () => void = () => {}

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (bytes) => {
      this.#pieces.push(bytes)
      this.#length += bytes.length
      this.#wake()
    })
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => {
      this.#closed = true
      this.#wake()
    })
    socket.on('end', () => {
      this.#closed = true
      this.#wake()
    })
  }

  /** @param url only its host and port count */
  static open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url)
    return new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true })
      socket.once('error', reject)
      socket.once('connect', () => resolve(new RawConnection(socket)))
    })
  }

  /** Resolves once the kernel has taken the bytes, or the connection is gone. */
  send(...parts: (string | Buffer)[]): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve()
      this.#socket.once('close', resolve)
      const bytes = parts.length === 1 ? bytesOf(parts[0] ?? '') : Buffer.concat(parts.map(bytesOf))
      this.#socket.write(bytes, () => {
        this.#socket.off('close', resolve)
        resolve()
      })
    })
  }

  /** The next response; interim ones (1xx) are responses too. @param headOnly it answers a HEAD: no body follows */
  async response({ headOnly = false } = {}): Promise<RawResponse> {
    const head = (await this.#until('\r\n\r\n')).toString('latin1')
    const [statusLine = '', ...lines] = head.split('\r\n')
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1])
    if (Number.isNaN(status)) throw new Error(`No HTTP response: ${JSON.stringify(head)}`)
    const headers: Record<string, string> = {}
    for (const line of lines) {
      const colon = line.indexOf(':')
      const name = line.slice(0, colon).toLowerCase()
      const value = line.slice(colon + 1).trim()
      headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`
    }
    const hasBody = !headOnly && status >= 200 && status !== 204 && status !== 304
    const { body, complete } = hasBody ? await this.#body(headers) : { body: Buffer.alloc(0), complete: true }
    return { status, headers, body, complete, json: () => JSON.parse(body.toString()) }
  }

  /** Waits for the first bytes of a response, and takes no more off the wire until `goOn`. */
  async firstBytes(): Promise<void> {
    await this.#more(() => this.#length > 0)
    this.#socket.pause()
  }

  goOn(): void {
    this.#socket.resume()
  }

  /** Whatever is left until the server closes the connection; then this side closes it too. */
  async rest(): Promise<Buffer> {
    await this.#more(() => false)
    this.#socket.destroy()
    return this.#take(this.#length)
  }

  /** Sends no more, and still reads. */
  halfClose(): void {
    this.#socket.end()
  }

  /** Goes away at once, as a killed client does. */
  abort(): void {
    this.#socket.resetAndDestroy()
  }

  async #body(headers: Record<string, string>): Promise<{ body: Buffer; complete: boolean }> {
    if (headers['transfer-encoding'] === 'chunked') return this.#chunks()
    const length = headers['content-length']
    if (length === undefined) return { body: await this.rest(), complete: true }
    await this.#more(() => this.#length >= Number(length))
    const body = this.#take(Number(length))
    return { body, complete: body.length === Number(length) }
  }

  async #chunks(): Promise<{ body: Buffer; complete: boolean }> {
    const parts: Buffer[] = []
    try {
      for (;;) {
        const size = Number.parseInt((await this.#until('\r\n')).toString(), 16)
        await this.#more(() => this.#length >= size + 2)
        const part = this.#take(size + 2)
        if (part.length < size + 2) break
        if (size === 0) return { body: Buffer.concat(parts), complete: true }
        parts.push(part.subarray(0, size))
      }
    } catch {
      // The connection ended within a chunk.
    }
    return { body: Buffer.concat(parts), complete: false }
  }

  /** Everything before `mark`, which is taken too. */
  async #until(mark: string): Promise<Buffer> {
    await this.#more(() => this.#all().includes(mark))
    const at = this.#all().indexOf(mark)
    if (at < 0)
      throw new Error(`The connection ended after ${JSON.stringify(this.#all().toString('latin1'))}`)
    const bytes = this.#take(at)
    this.#take(mark.length)
    return bytes
  }

  /** Waits until `isEnough`, or the server sends no more. */
  async #more(isEnough: () => boolean): Promise<void> {
    while (!this.#closed && !isEnough()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #take(count: number): Buffer {
    const all = this.#all()
    const bytes = all.subarray(0, count)
    this.#pieces = [all.subarray(count)]
    this.#length = all.length - bytes.length
    return bytes
  }

  #all(): Buffer {
    const all = this.#pieces.length === 1 && this.#pieces[0] ? this.#pieces[0] : Buffer.concat(this.#pieces)
    this.#pieces = [all]
    return all
  }
}

/** Sends these bytes on a connection of their own, and reads one response. */
export async function exchange(
  url: string,
  request: Buffer,
  { headOnly = false }: { headOnly?: boolean } = {},
): Promise<RawResponse> {
  const connection = await RawConnection.open(url)
  try {
    await connection.send(request)
    return await connection.response({ headOnly })
  } finally {
    connection.abort()
  }
}

/** Whether all of these, which have sent a request with `Expect: 100-continue`, are told to go on. One that has ended is not. */
export async function areAllWelcome(begun: Promise<RawConnection>[]): Promise<boolean> {
  const told = begun.map(async (connection) => (await (await connection).response()).status)
  const statuses = await Promise.all(told.map((status) => status.catch(() => 0)))
  return statuses.every((status) => status === 100)
}

/** The PostgreSQL wire protocol as far as a proxy has to understand it (PostgreSQL manual, §55.7). */

/** Cuts a stream into whole messages. */
export class Messages {
  #rest = Buffer.alloc(0)
  /** The first message of a client has no type. */
  #isStartup: boolean

  constructor(from: 'client' | 'server') {
    this.#isStartup = from === 'client'
  }

  /** The messages that these bytes complete. */
  *add(bytes: Buffer): Generator<Message> {
    this.#rest = Buffer.concat([this.#rest, bytes])
    for (;;) {
      const head = this.#isStartup ? 0 : 1
      if (this.#rest.length < head + 4) return
      const length = head + this.#rest.readUInt32BE(head)
      if (this.#rest.length < length) return
      const bytes = this.#rest.subarray(0, length)
      this.#rest = this.#rest.subarray(length)
      const type = this.#isStartup ? 'startup' : String.fromCharCode(bytes[0] ?? 0)
      this.#isStartup = false
      yield { type, bytes, body: bytes.subarray(head + 4) }
    }
  }
}

export interface Message {
  /** Its letter, or `startup`. */
  type: string
  /** All of it. */
  bytes: Buffer
  /** Without type and length. */
  body: Buffer
}

/** A message of the simple protocol that runs this text. */
export function simpleQuery(text: string): Buffer {
  return message('Q', Buffer.from(`${text}\0`))
}

/** An ErrorResponse after which PostgreSQL closes the connection. */
export function fatalError(sqlState: string, text: string): Buffer {
  return message('E', Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0M${text}\0\0`))
}

/** The text of a Parse or Query message. */
export function statementText({ type, body }: Message): string | undefined {
  if (type === 'Q') return cString(body, 0)
  if (type === 'P') return cString(body, statementName(body).length + 1)
  return undefined
}

/** The prepared statement that a Parse makes, or a Bind uses. */
export function preparedName({ type, body }: Message): string | undefined {
  if (type === 'P') return statementName(body)
  if (type === 'B') return cString(body, cString(body, 0).length + 1)
  return undefined
}

function statementName(body: Buffer): string {
  return cString(body, 0)
}

function cString(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at, bytes.indexOf(0, at))
}

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type, 'latin1')
  head.writeUInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

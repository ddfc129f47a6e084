import { StorageError } from '../../model/errors.ts'

/** Of the head of one part. Browsers and clients send a few hundred bytes. */
const MAX_HEAD_BYTES = 16 * 1024

/** Beside the fields that a form may have: the file, and some that the parser passes over. */
const OTHER_PARTS = 6

const CRLF = Buffer.from('\r\n')
const END_OF_HEAD = Buffer.from('\r\n\r\n')
const HEADER = /^[!#$%&'*+.^_`|~\w-]+:[^\r\n\0]*$/
const DISPOSITION = /^content-disposition:/i
const FORM_DATA = /^content-disposition:[ \t]*form-data[ \t]*(?:;|$)/i
const CONTENT_TYPE = /^content-type:/i

/** Where in a form its next byte is. */
type Place = 'preamble' | 'delimiter' | 'head' | 'content' | 'close' | 'epilogue'

/**
 * Watches that a form can be read in one way only, beside the parser that reads it. A line within a file that begins
 * like the boundary ends the file for a parser, and what follows is skipped as a part that is none: the file would be
 * stored cut off. So each delimiter is followed by a part with a head, or ends the form (RFC 2046 §5.1.1, RFC 7578 §4),
 * and none comes behind the last one. Text before the first and behind the last one is allowed, and means nothing.
 */
export class FormFraming {
  readonly #delimiter: Buffer
  /** Their types are kept. */
  readonly #maxParts: number
  #place: Place = 'preamble'
  /** What the next bytes may complete. Before the first line there is the end of one. */
  #rest: Buffer = CRLF
  /** Whether `#rest` begins with the end of a head: a delimiter there would leave its part without a body. */
  #isBehindHead = false
  readonly #types: (string | undefined)[] = []

  /** @param contentType of the form @throws InvalidRequest when it names no boundary */
  constructor(contentType: string, maxFields: number) {
    this.#maxParts = maxFields + OTHER_PARTS
    const [, quoted, bare] = /;\s*boundary=(?:"([^"]*)"|([^;]*))/i.exec(contentType) ?? []
    const boundary = quoted ?? bare?.trim()
    if (!boundary) throw malformed('has no boundary')
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  }

  /** @throws InvalidRequest */
  write(bytes: Buffer): void {
    const data = this.#rest.length > 0 ? Buffer.concat([this.#rest, bytes]) : bytes
    let at: number | undefined = 0
    let last = 0
    while (at !== undefined) {
      last = at
      at = this.#step(data, at)
    }
    // A copy, so that a few bytes do not keep all of the others in memory.
    this.#rest = Buffer.from(data.subarray(this.#isText() ? this.#keptFrom(data, last) : last))
  }

  /** @throws InvalidRequest when it is not whole */
  end(): void {
    const isWhole = this.#place === 'epilogue' || (this.#place === 'close' && this.#rest.length === 0)
    if (!isWhole) throw malformed('has no end')
  }

  /** The Content-Type of a part, whole; undefined without one. @param part counted from 0 */
  typeOf(part: number): string | undefined {
    return this.#types[part]
  }

  /** Goes on from `at`. @returns to where, or undefined when more bytes are needed */
  #step(data: Buffer, at: number): number | undefined {
    switch (this.#place) {
      case 'delimiter': {
        if (data.length < at + 2) return undefined
        const next = data.toString('latin1', at, at + 2)
        if (next !== '\r\n' && next !== '--') throw malformed('has a line that only begins like its boundary')
        this.#place = next === '--' ? 'close' : 'head'
        return at + 2
      }
      case 'head': {
        const end = data.indexOf(END_OF_HEAD, at)
        if ((end < 0 ? data.length : end) - at > MAX_HEAD_BYTES)
          throw malformed('has a part with too long a head')
        if (end < 0) return undefined
        if (this.#types.length === this.#maxParts) throw malformed('has too many parts')
        this.#types.push(typeIn(checkedHead(data.toString('latin1', at, end))))
        this.#place = 'content'
        this.#isBehindHead = true
        return end + 2
      }
      case 'close': {
        if (data.length < at + 2) return undefined
        if (!data.subarray(at, at + 2).equals(CRLF))
          throw malformed('has a line that only begins like its end')
        this.#place = 'epilogue'
        return at
      }
      default: {
        const found = data.indexOf(this.#delimiter, at)
        if (found < 0) return undefined
        if (this.#place === 'epilogue') throw malformed('goes on behind its end')
        if (this.#isBehindHead && found === at) throw malformed('has a part without a body')
        this.#isBehindHead = false
        this.#place = 'delimiter'
        return found + this.#delimiter.length
      }
    }
  }

  #isText(): boolean {
    return this.#place === 'preamble' || this.#place === 'content' || this.#place === 'epilogue'
  }

  /** From where the text may be the beginning of a delimiter, which has one line break, at its own beginning. */
  #keptFrom(data: Buffer, at: number): number {
    const earliest = Math.max(at, data.length - this.#delimiter.length + 1)
    const found = data.indexOf(CRLF[0] ?? 0, earliest)
    const from = found < 0 ? data.length : found
    if (from > at) this.#isBehindHead = false
    return from
  }
}

/** The lines of a part's head. @throws InvalidRequest unless it is one of a form's part, however it is read */
function checkedHead(head: string): string[] {
  const lines = head.split('\r\n')
  const [disposition = '', ...others] = lines.filter((line) => DISPOSITION.test(line))
  const isPart =
    lines.every((line) => HEADER.test(line)) && FORM_DATA.test(disposition) && others.length === 0
  if (!isPart) throw malformed('has a part that is none of a form')
  return lines
}

function typeIn(head: string[]): string | undefined {
  return head.find((line) => CONTENT_TYPE.test(line))?.replace(CONTENT_TYPE, '')
}

function malformed(what: string): StorageError {
  return new StorageError('InvalidRequest', { message: `The multipart body ${what}` })
}

import { createHash } from 'node:crypto'
import { type Content, NOTHING } from './linearizability.ts'

/** Bytes that nobody else writes. */
export interface Made {
  content: Content
  bytes: Buffer
}

/** An answer tells of bytes that nobody has sent. */
class MixedContent extends Error {
  override readonly name = 'MixedContent'
}

/** All contents that clients write, by their bytes and by their ETags. */
export class Contents {
  #last = NOTHING
  readonly #sizes = new Map<Content, number>()
  readonly #byTag = new Map<string, Content>()
  /** The ETag that a server has given it. */
  readonly #etags = new Map<Content, string>()

  /** @param size in bytes, at least 20 */
  make(size: number): Made {
    this.#last += 1
    const content = this.#last
    const bytes = bytesOf(content, size)
    this.#sizes.set(content, size)
    for (const tag of tagsOf(bytes)) this.#byTag.set(tag, content)
    return { content, bytes }
  }

  /** @throws MixedContent */
  in(bytes: Buffer): Content {
    const content = Number(/^(\d+) /.exec(bytes.toString('latin1', 0, 20))?.[1])
    const size = this.#sizes.get(content)
    if (size !== bytes.length || !bytes.equals(bytesOf(content, size))) {
      throw new MixedContent(`${bytes.length} bytes, which nobody has sent: ${bytes.subarray(0, 100)}`)
    }
    return content
  }

  /** @throws MixedContent */
  taggedBy(tag: unknown): Content {
    const content = this.#byTag.get(String(tag))
    if (content === undefined) throw new MixedContent(`an ETag of what nobody has sent: ${tag}`)
    this.#etags.set(content, String(tag))
    return content
  }

  /** Its ETag, if a server has told it. */
  etagOf(content: Content): string | undefined {
    return this.#etags.get(content)
  }

  /** Forgets all others, which are nowhere any more. */
  forgetAllBut(kept: ReadonlySet<Content>): void {
    for (const content of this.#sizes.keys()) if (!kept.has(content)) this.#sizes.delete(content)
    for (const content of this.#etags.keys()) if (!kept.has(content)) this.#etags.delete(content)
    for (const [tag, content] of this.#byTag) if (!kept.has(content)) this.#byTag.delete(tag)
  }
}

function bytesOf(content: Content, size: number): Buffer {
  return Buffer.alloc(size, `${content} `)
}

/** Those that it may get, by the way that it comes (decision 0049). */
function tagsOf(bytes: Buffer): string[] {
  const md5 = createHash('md5').update(bytes).digest()
  const inOnePart = createHash('md5').update(md5).digest('hex')
  const sha256 = createHash('sha256').update(bytes).digest('base64url')
  return [`"sha256-${sha256}"`, `"${md5.toString('hex')}"`, `"${inOnePart}-1"`]
}

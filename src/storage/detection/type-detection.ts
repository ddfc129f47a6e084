import type { SniffMode } from '../../config/config.ts'
import { StorageError } from '../../model/errors.ts'
import { essence, guessContentType, UNKNOWN_TYPE } from '../object/content-type.ts'
import { contradicts, type Evidence, foundWithin, isToldByBytes } from './contradiction.ts'
import { canBeFound, findType } from './found-type.ts'

/** What is said of an upload's type. */
export interface SaidType {
  /** As sent and well-formed, or undefined when the client named none. */
  contentType: string | undefined
  /** Of the object. */
  name: string
  /** Whether the name says nothing of it. */
  isNameSilent?: boolean | undefined
}

/** A type as it is known before the bytes, and what they may be hidden by. */
export interface ClaimedType {
  /** As `TypeDetection.claimed` has it. */
  contentType: string
  contentEncoding: string | undefined
}

/**
 * Says what type an object has: as it was sent; as its name's extension says; as its first bytes do; and otherwise none.
 * Which uploads are looked into, and what contradicts what: decision 0069.
 */
export class TypeDetection {
  constructor(private readonly mode: SniffMode) {}

  /** The type before the bytes are looked at: what the client says, or the name, or that it is unknown. */
  claimed({ contentType, name, isNameSilent = false }: SaidType): string {
    const isSaid = contentType !== undefined && (this.mode === 'off' || !isUnknown(contentType))
    if (isSaid) return contentType
    return isNameSilent ? UNKNOWN_TYPE : guessContentType(name)
  }

  /** Whether only the bytes can say it. */
  isOpen(claimed: string): boolean {
    return this.mode !== 'off' && isUnknown(claimed)
  }

  /** The type as far as it is known before the bytes are looked at; null while only they can say it. */
  beforeBytes(claimed: string): string | null {
    return this.isOpen(claimed) ? null : claimed
  }

  /** Whether the bytes are looked at. */
  wantsBytes(claimed: string): boolean {
    return this.isOpen(claimed) || (this.mode === 'verify' && isToldByBytes(claimed))
  }

  /**
   * The type, once it is clear.
   *
   * @param sample reads the first bytes, `SAMPLE_BYTES` or all; called where the bytes are looked at
   * @throws MismatchedMimeType when they are certainly not what is claimed, and what `sample` throws
   */
  async settle(
    { contentType: claimed, contentEncoding }: ClaimedType,
    sample: () => Promise<Uint8Array>,
  ): Promise<string> {
    if (!this.wantsBytes(claimed)) return claimed
    const bytes = await sample()
    const found = await findType(bytes)
    const isEncoded = contentEncoding !== undefined && contentEncoding.toLowerCase() !== 'identity'
    const evidence: Evidence = { sample: bytes, found, isEncoded }
    if (this.isOpen(claimed)) return foundWithin(evidence) ?? claimed
    if (!contradicts(claimed, evidence, await canBeFound(claimed))) return claimed
    const what = found === undefined ? '' : `, which are ${found}`
    throw new StorageError('MismatchedMimeType', {
      message: `mime type ${claimed} is contradicted by the bytes${what}`,
    })
  }
}

function isUnknown(type: string): boolean {
  return essence(type) === UNKNOWN_TYPE
}

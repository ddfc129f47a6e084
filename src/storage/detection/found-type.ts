import { isUtf8 } from 'node:buffer'
import { plainName } from '../object/content-type.ts'

/** Of so many bytes a type is found, if it can be. */
export const SAMPLE_BYTES = 4096

/** What file-type would look into: a few thousand bytes of it become megabytes. */
const GZIP = [0x1f, 0x8b, 0x08]

/**
 * Types whose first bytes are text themselves. Others begin with two or three letters, as `BM` or `MZ`, which a text may
 * begin with as well.
 */
const TEXTUAL =
  /^(?:text\/|application\/(?:pdf|postscript|eps|rtf|xml|x-ms-regedit|pgp-encrypted)$|model\/stl$)/

/**
 * The type that bytes are of, by how they begin; undefined for what has no signature, as texts have none.
 *
 * @param sample the first bytes: `SAMPLE_BYTES`, or all
 */
export async function findType(sample: Uint8Array): Promise<string | undefined> {
  if (GZIP.every((byte, index) => sample[index] === byte)) return 'application/gzip'
  const { fileTypeFromBuffer } = await loadFileType()
  let type: string | undefined
  try {
    type = (await fileTypeFromBuffer(sample))?.mime.toLowerCase()
  } catch {
    return undefined // what its parsers stumble over is none of what they know
  }
  return type !== undefined && isText(sample) && !TEXTUAL.test(type) ? undefined : type
}

/** Whether bytes of this type would be found to be of it. */
export async function canBeFound(type: string): Promise<boolean> {
  const { supportedMimeTypes } = await loadFileType()
  names ??= new Set([...supportedMimeTypes].map(plainName))
  return names.has(plainName(type))
}

let names: ReadonlySet<string> | undefined

/**
 * What finds types. A server that may need it loads it before it listens: that takes a tenth of a second, and Node does not
 * try again what could not be loaded once, as while no more files can be opened.
 */
export function loadFileType() {
  return import('file-type/core')
}

/** Whether it is UTF-8 that can be read. A letter may be cut off at the end. */
function isText(sample: Uint8Array): boolean {
  if (sample.some((byte) => byte < 0x20 && !isWhiteSpace(byte))) return false
  return [0, 1, 2, 3].some((cut) => isUtf8(sample.subarray(0, Math.max(0, sample.length - cut))))
}

/** Tab, line feed, form feed, carriage return; and the escape of terminals. */
function isWhiteSpace(byte: number): boolean {
  return byte === 0x09 || byte === 0x0a || byte === 0x0c || byte === 0x0d || byte === 0x1b
}

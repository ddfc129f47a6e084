import { plainName } from '../object/content-type.ts'

/**
 * Names of one format, or of formats that only a look at the whole tells apart. Without `x-` and `vnd.`, which come and go
 * before names; a type may be in several.
 */
const FAMILIES = [
  ['image/jpeg', 'image/jpg', 'image/pjpeg'],
  ['image/png', 'image/apng', 'image/mozilla.apng'],
  ['image/bmp', 'image/ms-bmp'],
  ['image/icon', 'image/microsoft.icon', 'image/ico'],
  ['image/heic', 'image/heif', 'image/heic-sequence', 'image/heif-sequence', 'image/avif'],
  ['image/tiff', 'image/tif', 'image/adobe-dng', 'image/canon-cr2', 'image/nikon-nef', 'image/sony-arw'],
  ['image/adobe.photoshop', 'image/photoshop', 'image/psd'],
  ['image/jp2', 'image/jpx', 'image/jpm', 'image/mj2', 'video/mj2'],
  ['image/jxr', 'image/ms-photo'],
  ['audio/wav', 'audio/wave'],
  ['audio/midi', 'audio/mid'],
  ['audio/wavpack', 'audio/wv'],
  // ISO base media files, whose brand says little.
  [
    ...['video/mp4', 'video/m4v', 'video/3gpp', 'video/3gpp2', 'video/quicktime', 'application/mp4'],
    ...['audio/mp4', 'audio/m4a', 'audio/m4b', 'audio/3gpp', 'audio/3gpp2', 'audio/aac', 'audio/aacp'],
  ],
  ['video/matroska', 'video/webm', 'audio/matroska', 'audio/webm'],
  ['video/ogg', 'audio/ogg', 'application/ogg', 'audio/opus', 'audio/vorbis', 'audio/speex'],
  ['video/avi', 'video/msvideo'],
  ['video/ms-asf', 'audio/ms-asf', 'application/ms-asf', 'video/ms-wmv', 'audio/ms-wma'],
  ['video/mpeg', 'video/mp1s', 'video/mp2p', 'video/mp2t'],
  ['application/rn-realmedia', 'audio/pn-realaudio', 'audio/realaudio'],
]

/** Documents and programs that are ZIP archives. */
const ZIPPED =
  /^application\/(?:zip|zip-compressed|java-archive|android\.package-archive|xpinstall|visio|(?:openxmlformats|oasis\.opendocument)[.-].+|ms-.+\.macroenabled(?:template)?\.12|.+\+zip)$|^model\/3mf$/

/** Of those, the ones that are this when they have a password. */
const WITH_PASSWORD = 'application/cfb'

/** In which a type of its own may be that has no signature: SVG, compressed or not, OpenRaster. */
const WRAPPINGS = new Set(['application/xml', 'application/gzip', 'application/zip'])

/** What a body that is encoded as a whole begins with (RFC 9110 §8.4): it says nothing of what is inside. */
const CODINGS = new Set(['application/gzip', 'application/zstd', 'application/compress'])

/** Types that nobody can read without their signature, which stands at the beginning. */
const ALWAYS_SIGNED = new Set([
  'image/png',
  'image/apng',
  'image/jpeg',
  'image/jpg',
  'image/gif',
  'image/webp',
])

/** Where readers of PDF look for its signature; in bytes (ISO 32000-1, annex H, note 13). */
const PDF_BEGINS_WITHIN = 1024

/** A declared type is held against the bytes if it is one that they tell: images, sound, films, PDF, and what is a ZIP. */
export function isToldByBytes(declared: string): boolean {
  const type = plainName(declared)
  return /^(?:image|audio|video)\//.test(type) || type === 'application/pdf' || ZIPPED.test(type)
}

/** What the bytes of an upload say. */
export interface Evidence {
  /** The first bytes: `SAMPLE_BYTES`, or all. */
  sample: Uint8Array
  /** As `findType` has it. */
  found: string | undefined
  /** Whether the client says that they are encoded. */
  isEncoded: boolean
}

/** The type that was found, unless it is that of an encoding. */
export function foundWithin({ found, isEncoded }: Evidence): string | undefined {
  return found !== undefined && isEncoded && CODINGS.has(plainName(found)) ? undefined : found
}

/**
 * Whether bytes are certainly none of the declared type, which is one that bytes tell. That nothing is found is no
 * contradiction where a type may do without a signature, and no bytes at all contradict nothing.
 *
 * @param isKnown whether the declared type is one that would have been found
 */
export function contradicts(declared: string, evidence: Evidence, isKnown: boolean): boolean {
  const { sample, isEncoded } = evidence
  const found = foundWithin(evidence)
  if (found === undefined) return sample.length > 0 && !isEncoded && lacksSignature(declared, sample)
  return !mayBe(plainName(declared), plainName(found), isKnown)
}

function lacksSignature(declared: string, sample: Uint8Array): boolean {
  const type = plainName(declared)
  if (type === 'application/pdf') return !Buffer.from(sample).subarray(0, PDF_BEGINS_WITHIN).includes('%PDF-')
  return ALWAYS_SIGNED.has(type)
}

function mayBe(declared: string, found: string, isKnown: boolean): boolean {
  if (declared === found) return true
  if (ZIPPED.test(declared)) {
    const isDocument = declared !== 'application/zip' && !declared.endsWith('+zip')
    return ZIPPED.test(found) || (isDocument && found === WITH_PASSWORD)
  }
  const families = FAMILIES.filter((family) => family.includes(declared))
  if (families.some((family) => family.includes(found))) return true
  // By two bytes, or by a tag that other sound may have as well.
  if (found === 'audio/mpeg' || found === 'audio/aac') return isSoundOrFilm(declared)
  if (isKnown || families.length > 0) return false
  return WRAPPINGS.has(found) || kindOf(declared) === kindOf(found)
}

function isSoundOrFilm(type: string): boolean {
  return /^(?:audio|video)\//.test(type)
}

function kindOf(type: string): string {
  return isSoundOrFilm(type) ? 'sound or film' : (type.split('/', 1)[0] ?? '')
}

import { describe, expect, it } from 'vitest'
import { TypeDetection } from '../../../src/storage/detection/type-detection.ts'
import { BEGINNINGS, fileOf, type Kind } from '../../support/file-samples.ts'

const types = new TypeDetection('verify')

/** What becomes of bytes that are declared to be of a type: the type, or the code of the refusal. */
async function verdict(
  declared: string,
  bytes: Uint8Array,
  contentEncoding: string | undefined = undefined,
): Promise<string> {
  try {
    return await types.settle({ contentType: declared, contentEncoding }, async () => bytes.subarray(0, 4096))
  } catch (error) {
    return (error as { code: string }).code
  }
}

const REFUSED = 'MismatchedMimeType'
const DOCX = 'application/vnd.openxmlformats-officedocument.wordprocessingml.document'

describe('a declared type', () => {
  it.each<[declared: string, kind: Kind]>([
    ['image/png', 'png'],
    ['IMAGE/PNG; a=b', 'png'],
    ['image/apng', 'png'],
    ['image/jpg', 'jpeg'],
    ['image/pjpeg', 'jpeg'],
    ['image/x-ms-bmp', 'bmp'],
    ['image/heif', 'heic'],
    ['image/heic', 'heif'],
    ['image/avif', 'heif'],
    ['image/x-adobe-dng', 'tiff'],
    ['audio/x-wav', 'wav'],
    ['audio/vnd.wave', 'wav'],
    ['audio/mp3', 'mp3'],
    ['audio/x-flac', 'flac'],
    ['audio/opus', 'opus'],
    ['application/ogg', 'ogg'],
    ['audio/mp4', 'mp4'],
    ['video/mp4', 'm4a'],
    ['audio/aac', 'm4a'],
    ['video/quicktime', 'mp4'],
    ['video/3gpp', 'mp4'],
    ['video/x-matroska', 'webm'],
    ['audio/webm', 'webm'],
    ['video/x-msvideo', 'avi'],
    ['application/x-pdf', 'pdf'],
    ['application/zip', 'docx'],
    ['application/x-zip-compressed', 'zip'],
    [DOCX, 'zip'],
    [DOCX, 'cfb'],
    ['application/vnd.oasis.opendocument.text', 'zip'],
    ['application/epub+zip', 'zip'],
    ['application/java-archive', 'zip'],
    ['application/vnd.android.package-archive', 'jar'],
  ])('%s is another word for what is found in %s', async (declared, kind) => {
    expect(await verdict(declared, fileOf(kind))).toBe(declared)
  })

  it.each<[declared: string, kind: Kind]>([
    ['image/png', 'elf'],
    ['image/png', 'exe'],
    ['image/png', 'jpeg'],
    ['image/jpeg', 'png'],
    ['image/gif', 'zip'],
    ['image/webp', 'wav'],
    ['image/heic', 'mp4'],
    ['image/svg+xml', 'elf'],
    ['image/x-unknown', 'macho'],
    ['image/x-unknown', 'mp4'],
    ['audio/x-wav', 'exe'],
    ['audio/flac', 'ogg'],
    ['video/mp4', 'elf'],
    ['video/mp4', 'webm'],
    ['video/mp2t', 'zip'],
    ['application/pdf', 'jar'],
    ['application/pdf', 'png'],
    [DOCX, 'elf'],
    [DOCX, 'pdf'],
    ['application/zip', 'exe'],
    ['application/zip', 'cfb'],
  ])('%s is contradicted by what is found in %s', async (declared, kind) => {
    expect(await verdict(declared, fileOf(kind))).toBe(REFUSED)
  })

  it.each<[declared: string, what: string, bytes: Uint8Array | string]>([
    ['image/svg+xml', 'a drawing', '<svg xmlns="http://www.w3.org/2000/svg"/>'],
    ['image/svg+xml', 'a drawing that says that it is XML', BEGINNINGS.xml],
    ['image/svg+xml', 'a drawing that is compressed', BEGINNINGS.gzip],
    ['image/openraster', 'an archive of pictures', BEGINNINGS.zip],
    ['image/x-portable-pixmap', 'pixels', 'P3\n1 1\n255\n0 0 0\n'],
    ['image/x-raw', 'a picture by another name', BEGINNINGS.tiff],
    ['audio/mpeg', 'sound without a tag', Buffer.alloc(5000, 7)],
    ['audio/flac', 'sound with the tag of another', Buffer.from('ID3\x04\0\0\0\x02\0\0', 'latin1')],
    ['video/mp2t', 'a program text that ends in .ts', 'export const a = 1\n'],
    ['application/pdf', 'a document behind something else', `HTTP/1.1 200 OK\r\n\r\n%PDF-1.4\n`],
    ['image/png', 'nothing at all', ''],
    ['text/plain', 'a program', BEGINNINGS.elf],
    ['text/csv', 'a text', 'BM;MZ\n'],
    ['application/json', 'a picture', BEGINNINGS.png],
  ])('%s is not contradicted by %s', async (declared, _what, bytes) => {
    expect(await verdict(declared, Buffer.from(bytes))).toBe(declared)
  })

  it.each([
    ['image/png', 'a page', '<html><script>alert(1)</script></html>'],
    ['image/jpeg', 'zeros', Buffer.alloc(100)],
    ['image/gif', 'the word', 'GIF'],
    ['image/webp', 'half a signature', 'RIFF'],
    ['application/pdf', 'a text', 'no document'],
    ['application/pdf', 'a document that begins too late', `${' '.repeat(1100)}%PDF-1.4`],
  ])('%s cannot be without its signature: %s', async (declared, _what, bytes) => {
    expect(await verdict(declared, Buffer.from(bytes))).toBe(REFUSED)
  })

  it('is not contradicted by an encoding that is said', async () => {
    expect(await verdict('image/png', fileOf('gzip'), 'gzip')).toBe('image/png')
    expect(await verdict('image/png', Buffer.from([11, 2, 128, 104]), 'br')).toBe('image/png')
    expect(await verdict('image/png', fileOf('gzip'), 'identity')).toBe(REFUSED)
    expect(await verdict('image/png', fileOf('elf'), 'gzip')).toBe(REFUSED)
  })

  it('says in the refusal what was found', async () => {
    const settling = types.settle({ contentType: 'image/png', contentEncoding: undefined }, async () =>
      fileOf('elf', 100),
    )
    await expect(settling).rejects.toThrow(
      'mime type image/png is contradicted by the bytes, which are application/x-elf',
    )
  })

  it.each(['off', 'missing'] as const)('is believed where nobody wants to know (%s)', async (mode) => {
    const unread = async () => Promise.reject(new Error('the bytes were read'))
    const believing = new TypeDetection(mode)
    const claimed = { contentType: 'image/png', contentEncoding: undefined }
    expect(await believing.settle(claimed, unread)).toBe('image/png')
  })
})

describe('a type that nobody says', () => {
  const claim = { contentType: 'application/octet-stream', contentEncoding: undefined }

  it('is that of the bytes', async () => {
    expect(await types.settle(claim, async () => fileOf('png', 4096))).toBe('image/png')
    expect(await types.settle(claim, async () => Buffer.from('text'))).toBe('application/octet-stream')
  })

  it('is not that of an encoding that is said', async () => {
    const encoded = { ...claim, contentEncoding: 'gzip' }
    expect(await types.settle(encoded, async () => fileOf('gzip', 100))).toBe('application/octet-stream')
    expect(await types.settle(claim, async () => fileOf('gzip', 100))).toBe('application/gzip')
  })

  it.each<[sent: string | undefined, name: string, isNameSilent: boolean, off: string, missing: string]>([
    ['text/css', 'a.png', false, 'text/css', 'text/css'],
    [undefined, 'a.png', false, 'image/png', 'image/png'],
    ['application/octet-stream', 'a.png', false, 'application/octet-stream', 'image/png'],
    ['Application/Octet-Stream; a=b', 'a.png', false, 'Application/Octet-Stream; a=b', 'image/png'],
    ['application/octet-stream', 'a.png', true, 'application/octet-stream', 'application/octet-stream'],
    [undefined, 'a.png', true, 'application/octet-stream', 'application/octet-stream'],
    [undefined, 'a', false, 'application/octet-stream', 'application/octet-stream'],
  ])('is first what is said: %s, %s, silent name %s', (contentType, name, isNameSilent, off, missing) => {
    const said = { contentType, name, isNameSilent }
    expect(new TypeDetection('off').claimed(said)).toBe(off)
    expect(new TypeDetection('missing').claimed(said)).toBe(missing)
    expect(new TypeDetection('verify').claimed(said)).toBe(missing)
  })
})

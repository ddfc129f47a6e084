import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'

const box = (brand: string) =>
  Buffer.concat([Buffer.from([0, 0, 0, 24]), Buffer.from(`ftyp${brand}\0\0\0\0${brand}isom`, 'latin1')])
const riff = (kind: string) =>
  Buffer.concat([Buffer.from('RIFF'), Buffer.from([1, 2, 3, 4]), Buffer.from(kind)])

/** A ZIP of files that are stored as they are, as far as its first entries. */
export function zipOf(files: Record<string, string>): Buffer {
  return Buffer.concat(
    Object.entries(files).map(([name, content]) => {
      const head = Buffer.alloc(30)
      head.write('PK\x03\x04', 'latin1')
      head.writeUInt16LE(10, 4)
      head.writeUInt32LE(content.length, 18)
      head.writeUInt32LE(content.length, 22)
      head.writeUInt16LE(name.length, 26)
      return Buffer.concat([head, Buffer.from(name), Buffer.from(content)])
    }),
  )
}

const CONTENT_TYPES =
  '<Types><Override ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'

/** How files of these types begin. */
export const BEGINNINGS = {
  png: Buffer.from(
    '89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000100049444154',
    'hex',
  ),
  jpeg: Buffer.from('ffd8ffe000104a46494600010100000100010000', 'hex'),
  gif: Buffer.from('47494638396101000100800000', 'hex'),
  webp: riff('WEBPVP8 '),
  bmp: Buffer.from('424d3a000000000000003600000028000000', 'hex'),
  tiff: Buffer.from('49492a0008000000', 'hex'),
  heic: box('heic'),
  avif: box('avif'),
  heif: box('mif1'),
  pdf: Buffer.from('%PDF-1.7\n%\xe2\xe3\xcf\xd3\n', 'latin1'),
  wav: riff('WAVEfmt '),
  avi: riff('AVI LIST'),
  mp3: Buffer.from('fffb9064', 'hex'),
  flac: Buffer.from('fLaC\0\0\0\x22', 'latin1'),
  ogg: Buffer.concat([Buffer.from('OggS'), Buffer.alloc(24), Buffer.from('\x01vorbis\0')]),
  opus: Buffer.concat([Buffer.from('OggS'), Buffer.alloc(24), Buffer.from('OpusHead')]),
  mp4: box('isom'),
  m4a: box('M4A '),
  mov: box('qt  '),
  webm: Buffer.from('1a45dfa39f4282847765626d', 'hex'),
  elf: Buffer.from('7f454c46020101000000000000000000', 'hex'),
  exe: Buffer.from('4d5a90000300000004000000ffff0000', 'hex'),
  macho: Buffer.from('cffaedfe0700000103000000', 'hex'),
  zip: zipOf({ 'a.txt': 'text' }),
  docx: zipOf({ '[Content_Types].xml': CONTENT_TYPES, 'word/document.xml': '<w/>' }),
  epub: zipOf({ mimetype: 'application/epub+zip' }),
  jar: zipOf({ 'META-INF/MANIFEST.MF': 'Manifest-Version: 1.0' }),
  cfb: Buffer.from('d0cf11e0a1b11ae1', 'hex'),
  gzip: gzipSync('text'),
  xml: Buffer.from('<?xml version="1.0"?><a/>'),
} as const satisfies Record<string, Buffer>
export type Kind = keyof typeof BEGINNINGS

/** A file that begins so, of so many bytes. Behind the beginning there is nothing that means anything. */
export function fileOf(kind: Kind, size = 6000): Buffer {
  const beginning = BEGINNINGS[kind]
  const isText = kind === 'xml'
  const rest = Math.max(0, size - beginning.length)
  return Buffer.concat([beginning, isText ? Buffer.alloc(rest, ' ') : randomBytes(rest)]).subarray(0, size)
}

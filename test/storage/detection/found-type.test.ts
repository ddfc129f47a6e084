import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { findType, SAMPLE_BYTES } from '../../../src/storage/detection/found-type.ts'
import { BEGINNINGS, fileOf, type Kind } from '../../support/file-samples.ts'

describe('the type that bytes are found to be of', () => {
  it.each<[kind: Kind, type: string]>([
    ['png', 'image/png'],
    ['jpeg', 'image/jpeg'],
    ['gif', 'image/gif'],
    ['webp', 'image/webp'],
    ['bmp', 'image/bmp'],
    ['heic', 'image/heic'],
    ['avif', 'image/avif'],
    ['heif', 'image/heif'],
    ['pdf', 'application/pdf'],
    ['wav', 'audio/wav'],
    ['mp3', 'audio/mpeg'],
    ['flac', 'audio/flac'],
    ['ogg', 'audio/ogg'],
    ['opus', 'audio/ogg; codecs=opus'],
    ['mp4', 'video/mp4'],
    ['m4a', 'audio/x-m4a'],
    ['webm', 'video/webm'],
    ['elf', 'application/x-elf'],
    ['exe', 'application/x-msdownload'],
    ['macho', 'application/x-mach-binary'],
    ['zip', 'application/zip'],
    ['docx', 'application/vnd.openxmlformats-officedocument.wordprocessingml.document'],
    ['epub', 'application/epub+zip'],
    ['jar', 'application/java-archive'],
    ['cfb', 'application/x-cfb'],
    ['gzip', 'application/gzip'],
    ['xml', 'application/xml'],
  ])('of %s: %s', async (kind, type) => {
    expect(await findType(fileOf(kind, SAMPLE_BYTES))).toBe(type)
  })

  it.each([
    ['nothing', ''],
    ['one byte', 'B'],
    ['a text', 'hello'],
    ['letters of a signature in a text', 'BMW is a make of cars, and MZ is one of trains'],
    ['those of a program', 'MZ is no program\r\n'],
    ['those of an animation', 'GIF is a format'],
    ['those of a film, at their place', 'not free of charge, or of anything'],
    ['a text in other letters, cut off amid one', Buffer.from('BMéé').subarray(0, -1)],
    ['a table', 'a;b\n1;2\n'],
    ['an object', '{"a": 1}'],
    ['a drawing', '<svg xmlns="http://www.w3.org/2000/svg"/>'],
    ['a page', '<!doctype html><script>alert(1)</script>'],
    ['a script', '#!/bin/sh\nrm -rf /\n'],
    ['zeros', Buffer.alloc(SAMPLE_BYTES)],
    ['half a signature', BEGINNINGS.png.subarray(0, 6)],
  ])('is none of %s', async (_what, bytes) => {
    expect(await findType(Buffer.from(bytes))).toBeUndefined()
  })

  it.each([
    ['of a document', '%PDF-1.4\n1 0 obj <</Type/Catalog>> endobj', 'application/pdf'],
    ['of a letter', '{\\rtf1\\ansi hello}', 'application/rtf'],
    ['of a calendar', 'BEGIN:VCALENDAR\r\nVERSION:2.0\r\n', 'text/calendar'],
  ])('is that of a text whose signature is one: %s', async (_what, text, type) => {
    expect(await findType(Buffer.from(text))).toBe(type)
  })

  it('is found without unpacking anything', async () => {
    // 50 MB of zeros: the first bytes alone would become four megabytes.
    const bomb = gzipSync(Buffer.alloc(50_000_000)).subarray(0, SAMPLE_BYTES)
    expect(await findType(bomb)).toBe('application/gzip')
  })

  it('is none of bytes that end amid what a parser wants', async () => {
    for (const beginning of Object.values(BEGINNINGS)) {
      for (let length = 0; length < beginning.length; length++) {
        await expect(findType(beginning.subarray(0, length))).resolves.not.toBeNull()
      }
    }
  })

  it('needs nothing that is loaded when the server starts', () => {
    const source = readFileSync(
      new URL('../../../src/storage/detection/found-type.ts', import.meta.url),
      'utf8',
    )
    expect(source).not.toMatch(/^import .*file-type/m)
  })
})

import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AwsChunkedBody } from '../../../../src/http/s3/signature/aws-chunked.ts'

/** A body as it comes, in these pieces. */
function comingIn(pieces: (string | Buffer)[], options: { length?: number; announced?: string[] } = {}) {
  const incoming = new IncomingMessage(new Socket())
  const body = new AwsChunkedBody(incoming, {
    signatures: null,
    hasTrailer: true,
    announced: options.announced ?? [],
    length: options.length,
  })
  for (const piece of pieces) incoming.push(Buffer.from(piece))
  incoming.push(null)
  return { incoming, body }
}

const TRAILER = 'x-amz-checksum-crc32:AAAAAA==\r\n\r\n'
const chunk = (text: string | Buffer) => {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
}

describe('an aws-chunked body', () => {
  it('is the same, however it is cut, by the client or on the way', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 8 }),
        fc.integer({ min: 1, max: 40 }),
        async (chunks, step) => {
          const bytes = Buffer.concat(chunks)
          const sent = Buffer.concat([
            ...chunks.map((one) => chunk(Buffer.from(one))),
            Buffer.from(`0\r\n${TRAILER}`),
          ])
          const pieces = Array.from({ length: Math.ceil(sent.length / step) }, (_, at) =>
            sent.subarray(at * step, (at + 1) * step),
          )
          const { body } = comingIn(pieces, { length: bytes.length })
          expect((await buffer(body)).equals(bytes)).toBe(true)
          expect(Object.fromEntries(body.trailers)).toEqual({ 'x-amz-checksum-crc32': 'AAAAAA==' })
        },
      ),
    ))

  it.each([
    ['the line ends of some clients', '0\r\nx-amz-checksum-crc32:AAAAAA==\n\r\n'],
    ['no empty line at its end', '0\r\nx-amz-checksum-crc32:AAAAAA==\r\n'],
    ['blanks around a value, and capital letters', '0\r\nX-Amz-Checksum-CRC32: AAAAAA== \r\n\r\n'],
  ])('may have %s in its trailer', async (_what, end) => {
    const { body } = comingIn([chunk('hello'), end])
    expect((await buffer(body)).toString()).toBe('hello')
    expect(body.trailers.get('x-amz-checksum-crc32')).toBe('AAAAAA==')
  })

  it.each<[what: string, pieces: (string | Buffer)[], code: string]>([
    ['nothing', [], 'MalformedChunks'],
    ['no last chunk', [chunk('hello')], 'MalformedChunks'],
    ['an end in a chunk', ['5\r\nhel'], 'MalformedChunks'],
    ['a length that is none', ['zz\r\nhello\r\n', `0\r\n${TRAILER}`], 'MalformedChunks'],
    ['a negative length', ['-5\r\nhello\r\n', `0\r\n${TRAILER}`], 'MalformedChunks'],
    ['a length beyond all bounds', [`${'f'.repeat(16)}\r\nhello\r\n`], 'MalformedChunks'],
    ['a longer chunk than it says', ['4\r\nhello\r\n', `0\r\n${TRAILER}`], 'MalformedChunks'],
    ['a shorter chunk than it says', ['6\r\nhello\r\n', `0\r\n${TRAILER}`], 'MalformedChunks'],
    ['line feeds alone', ['5\nhello\n', `0\n${TRAILER}`], 'MalformedChunks'],
    ['a line without an end', [`5;${'x'.repeat(300)}`], 'MalformedChunks'],
    ['more bytes than it says', [chunk('hello world'), `0\r\n${TRAILER}`], 'MalformedChunks'],
    ['fewer bytes than it says', [chunk('hell'), `0\r\n${TRAILER}`], 'MalformedChunks'],
    ['no trailer', [chunk('hello'), '0\r\n\r\n'], 'MalformedTrailer'],
    ['another trailer than announced', [chunk('hello'), '0\r\nx-other:a\r\n\r\n'], 'MalformedTrailer'],
    [
      'a trailer twice',
      [chunk('hello'), `0\r\nx-amz-checksum-crc32:BBBBBB==\r\n${TRAILER}`],
      'MalformedTrailer',
    ],
    ['a trailer that is no header', [chunk('hello'), `0\r\nnonsense\r\n${TRAILER}`], 'MalformedTrailer'],
    ['a trailer without an end', [chunk('hello'), `0\r\n${'x'.repeat(5000)}`], 'MalformedTrailer'],
  ])('is refused with %s', async (_what, pieces, code) => {
    const { body, incoming } = comingIn(pieces, { length: 5, announced: ['x-amz-checksum-crc32'] })
    await expect(buffer(body)).rejects.toMatchObject({ code })
    expect(incoming.destroyed).toBe(incoming.readableEnded) // there is still an answer to be sent
  })

  it('tells when its client goes away, and when it had gone before', async () => {
    const incoming = new IncomingMessage(new Socket())
    const options = { signatures: null, hasTrailer: true, announced: [], length: undefined }
    const body = new AwsChunkedBody(incoming, options)
    const read = buffer(body)
    incoming.push(Buffer.from('5\r\nhel'))
    await setImmediate()
    incoming.destroy()
    await expect(read).rejects.toMatchObject({ code: 'Aborted' })
    await expect(buffer(new AwsChunkedBody(incoming, options))).rejects.toMatchObject({ code: 'Aborted' })
  })

  it('is not read before somebody wants it, nor faster', async () => {
    const { incoming, body } = comingIn([chunk(Buffer.alloc(200_000)), `0\r\n${TRAILER}`])
    await setImmediate()
    expect(incoming.readableFlowing).toBe(null)
    body.read(1)
    await setImmediate()
    expect(incoming.isPaused()).toBe(true)
    expect(body.readableLength).toBeLessThan(200_001)
    expect((await buffer(body)).length).toBe(200_000)
  })
})

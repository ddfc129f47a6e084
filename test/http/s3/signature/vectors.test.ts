import { describe, expect, it } from 'vitest'
import {
  arrived,
  bodyOf,
  CHUNKED,
  EXAMPLES,
  host,
  ofHeader,
  PRESIGNED,
  readChunked,
  verifier,
  WITH_TRAILER,
} from '../../../support/s3-examples.ts'

describe("Amazon's examples", () => {
  it.each(EXAMPLES.map((example) => [example[0], example] as const))(
    'are good here: %s',
    async (_what, example) => {
      expect(await verifier.verify(ofHeader(example))).toMatchObject({ identity: { role: 'service_role' } })
    },
  )

  it('are good here: a presigned URL', async () => {
    const { payload } = await verifier.verify(arrived('GET', PRESIGNED, { host }))
    expect(payload).toEqual({ kind: 'unsigned' })
  })

  it('are good here: an upload in chunks', async () => {
    const body = bodyOf(CHUNKED)
    expect(body.length).toBe(66_824)
    const { bytes, trailers } = await readChunked(CHUNKED, body)
    expect([bytes.equals(Buffer.alloc(66_560, 'a')), trailers]).toEqual([true, {}])
  })

  it('are good here: an upload in chunks with a trailer', async () => {
    const { bytes, trailers } = await readChunked(WITH_TRAILER, bodyOf(WITH_TRAILER))
    expect(bytes.equals(Buffer.alloc(66_560, 'a'))).toBe(true)
    expect(trailers).toEqual({ 'x-amz-checksum-crc32c': 'sOO8/Q==' })
  })
})

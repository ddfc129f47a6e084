import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { PassingDigests } from '../../../src/http/s3/passing-digests.ts'
import { Md5Thread } from '../../../src/lib/md5-thread.ts'
import { seededBytes } from '../../support/seeded-bytes.ts'

const LONG = seededBytes('passing', 2 * 1024 * 1024 + 5)
const MD5 = createHash('md5').update(LONG).digest()

let thread: Md5Thread
beforeEach(() => {
  thread = new Md5Thread()
})
afterEach(() => thread.close())

/** Reads a long body to its end, and says how often its MD5 has been asked for by then. @param failure its answer */
async function readToTheEnd(digests: PassingDigests, failure?: Error) {
  const md5 = thread.begin()
  vi.spyOn(thread, 'begin').mockReturnValue(md5)
  const asked = vi.spyOn(md5, 'digest')
  if (failure) asked.mockImplementation(() => Promise.reject(failure))
  const chunks = [LONG.subarray(0, 70_000), LONG.subarray(70_000, 1_500_000), LONG.subarray(1_500_000)]
  const read = await buffer(digests.watch(Readable.from(chunks), LONG.length, thread))
  expect(read.equals(LONG)).toBe(true)
  return asked.mock.calls.length
}

describe('PassingDigests', () => {
  it('computes the end of an MD5 once the body has been read, while that is stored', async () => {
    const digests = new PassingDigests(undefined)
    expect(await readToTheEnd(digests)).toBe(1)
    expect((await digests.digest({ sha256: '' })).md5.equals(MD5)).toBe(true)
  })

  it('tells of a failure then to who asks, and to nobody else', async () => {
    const digests = new PassingDigests(undefined)
    await readToTheEnd(digests, new Error('The thread has ended'))
    await expect(digests.digest({ sha256: '' })).rejects.toThrow('has ended')
  })

  it('may be left between the end of the body and that of its MD5', async () => {
    const digests = new PassingDigests(undefined)
    await readToTheEnd(digests)
    digests.leave()
    vi.restoreAllMocks()
    const next = new PassingDigests(undefined)
    await readToTheEnd(next)
    expect((await next.digest({ sha256: '' })).md5.equals(MD5)).toBe(true)
  })
})

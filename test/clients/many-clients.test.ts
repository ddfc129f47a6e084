import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { expect, it } from 'vitest'
import { describeClient, ok } from './describe-client.ts'
import { isFull } from './size.ts'

const CLIENTS = 10
const FILES_EACH = isFull ? 50 : 20

const MEBIBYTE = 1024 * 1024

describeClient('many clients and much data', {}, (clients) => {
  it(`keeps ${CLIENTS * FILES_EACH} files apart that ten users write at once, and gives each back intact`, async () => {
    const bucket = await clients.bucket({ policy: 'authenticated' })
    const before = await clients.stored()
    const users = Array.from({ length: CLIENTS }, (_, index) => `user-${index}`)
    const written = new Map<string, Buffer>()

    await Promise.all(
      users.map(async (user) => {
        const of = clients.user(user).from(bucket)
        for (let n = 0; n < FILES_EACH; n++) {
          const bytes = randomBytes(100 + n * 61)
          const name = `shared/${n}-of-${user}.bin`
          ok(await of.upload(name, n % 2 === 0 ? bytes : new Blob([bytes])))
          written.set(name, bytes)
        }
      }),
    )

    const expected = CLIENTS * FILES_EACH
    expect(await clients.stored()).toEqual({ rows: before.rows + expected, files: before.files + expected })
    const listed = ok(await clients.service.from(bucket).list('shared', { limit: 1000 }))
    expect(new Set(listed.map((entry) => `shared/${entry.name}`))).toEqual(new Set(written.keys()))

    // Each reads what the next one wrote.
    await Promise.all(
      users.map(async (user, index) => {
        const of = clients.user(user).from(bucket)
        const other = users[(index + 1) % CLIENTS]
        for (let n = 0; n < FILES_EACH; n++) {
          const name = `shared/${n}-of-${other}.bin`
          const bytes = Buffer.from(await ok(await of.download(name)).arrayBuffer())
          expect(bytes.equals(written.get(name) ?? Buffer.alloc(0)), name).toBe(true)
        }
      }),
    )
  })

  it('leaves exactly one whole object when ten clients write to one name at once', async () => {
    const of = clients.service.from(await clients.bucket())
    const before = await clients.stored()
    const bodies = Array.from({ length: CLIENTS }, (_, index) => String(index).repeat(100_000))

    const created = await Promise.all(bodies.map((body) => of.upload('same.txt', body)))
    expect(created.filter(({ error }) => error === null)).toHaveLength(1)
    for (const { error } of created.filter((answer) => answer.error !== null))
      expect(error).toMatchObject(clients.refusal(409, 'The resource already exists'))
    const winner = created.findIndex(({ error }) => error === null)
    expect(await ok(await of.download('same.txt')).text()).toBe(bodies[winner])

    for (const answer of await Promise.all(bodies.map((body) => of.update('same.txt', body)))) ok(answer)
    expect(bodies).toContain(await ok(await of.download('same.txt')).text())
    expect(await clients.stored()).toEqual({ rows: before.rows + 1, files: before.files + 1 })
  })

  it('carries a stream of 64 MiB there and back unchanged', async () => {
    const of = clients.service.from(await clients.bucket())
    const sent = createHash('sha256')
    function* generated() {
      for (let n = 0; n < 64; n++) {
        const piece = randomBytes(MEBIBYTE)
        sent.update(piece)
        yield piece
      }
    }

    ok(await of.upload('large.bin', Readable.from(generated())))

    expect(ok(await of.info('large.bin')).size).toBe(64 * MEBIBYTE)
    const received = createHash('sha256')
    const stream = ok(await of.download('large.bin').asStream()) as ReadableStream<Uint8Array>
    for await (const piece of stream) received.update(piece)
    const digest = sent.digest('hex')
    expect(received.digest('hex')).toBe(digest)
    expect(ok(await of.info('large.bin'))).toMatchObject({ checksum: digest })
  })
})

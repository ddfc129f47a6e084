import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import {
  bytesFor,
  chunks,
  expectStored,
  MiB,
  notedOffset,
  type ObjectPlace,
  startUpload,
  tusOptions,
} from '../support/tus.ts'
import { describeClient, describeClientInBothModes, ok } from './describe-client.ts'

describe('tus-js-client', () => {
  describeClientInBothModes((clients) => {
    it('uploads a file, with its type, cache control and metadata', async () => {
      const at = { bucket: await clients.bucket({ public: true }), name: 'deep/a file.bin' }
      const bytes = bytesFor(at, 100_000)
      const metadata = {
        contentType: 'image/x-own',
        cacheControl: '120',
        metadata: JSON.stringify({ title: 'Žluťoučký kůň 🐎', list: [1, null] }),
      }

      const { upload, sent, done } = startUpload(bytes, tusOptions(clients.server, at, { metadata }))
      await done

      expect(sent).toEqual(['POST', 'PATCH 0'])
      expect(upload.url?.startsWith(`${clients.url}/upload/resumable/`)).toBe(true)
      await expectStored(clients.server, at, bytes)
      const info = await clients.server.request(
        'GET',
        `/storage/v1/object/info/${at.bucket}/${encodeURI(at.name)}`,
      )
      expect(await info.json()).toMatchObject({
        content_type: 'image/x-own',
        cache_control: 'max-age=120',
        metadata: { title: 'Žluťoučký kůň 🐎', list: [1, null] },
      })
      const download = await fetch(`${clients.url}/object/public/${at.bucket}/${encodeURI(at.name)}`)
      await download.arrayBuffer()
      expect(download.headers.get('content-type')).toBe('image/x-own')
      expect(download.headers.get('cache-control')).toBe('max-age=120')
    })

    it.each([
      ['120', 'max-age=120'],
      ['120, must-revalidate', 'max-age=120, must-revalidate'],
      ['public, max-age=60', 'public, max-age=60'],
      ['', 'no-cache'],
    ])('keeps the cache control %j', async (cacheControl, kept) => {
      const at = { bucket: await clients.bucket(), name: 'cached' }
      const { done } = startUpload(
        bytesFor(at, 10),
        tusOptions(clients.server, at, { metadata: { cacheControl } }),
      )
      await done

      const info = await clients.server.request('GET', `/storage/v1/object/info/${at.bucket}/cached`)
      expect(await info.json()).toMatchObject({ cache_control: kept })
    })

    it.each(['removed', 'replaced'])('begins anew when what it had finished was %s', async (how) => {
      const at = { bucket: await clients.bucket(), name: 'once.bin' }
      const bytes = bytesFor(at, 10)
      const options = tusOptions(clients.server, at, { headers: { 'x-upsert': 'true' } })
      const first = startUpload(bytes, options)
      await first.done
      const again = startUpload(bytes, { ...options, uploadUrl: first.upload.url ?? '' })
      await again.done
      expect(again.sent).toEqual(['HEAD'])
      const of = clients.service.from(at.bucket)
      ok(how === 'removed' ? await of.remove([at.name]) : await of.update(at.name, 'other'))

      const later = startUpload(bytes, { ...options, uploadUrl: first.upload.url ?? '' })
      await later.done

      expect(later.sent).toEqual(['HEAD', 'POST', 'PATCH 0'])
      await expectStored(clients.server, at, bytes)
    })

    it('takes the type of a file that has none from its name', async () => {
      const at = { bucket: await clients.bucket(), name: 'a.png' }
      await startUpload(bytesFor(at, 10), tusOptions(clients.server, at)).done

      const download = await clients.server.request('GET', `/storage/v1/object/${at.bucket}/a.png`)
      await download.arrayBuffer()
      expect([download.headers.get('content-type'), download.headers.get('cache-control')]).toEqual([
        'image/png',
        'no-cache',
      ])
    })
  })
})

describeClient('a resumable upload', {}, (clients) => {
  async function place(name = 'a.bin'): Promise<ObjectPlace> {
    return { bucket: await clients.bucket(), name }
  }

  it('takes any name that an object may have', async () => {
    const at = await place('größe/图 🌍//[id].bin')
    const bytes = bytesFor(at, 10)

    await startUpload(bytes, tusOptions(clients.server, at)).done

    await expectStored(clients.server, at, bytes)
  })

  it.each([
    ['1 byte', 1, 12],
    ['4 KiB', 4096, 10_000],
    ['5 MiB less a byte', 5 * MiB - 1, 11 * MiB],
    ['6 MiB', 6 * MiB, 12 * MiB + 1],
    ['50 MiB', 50 * MiB, 50 * MiB + 1],
  ])('arrives whole in chunks of %s', async (_size, chunkSize, length) => {
    const at = await place()
    const bytes = bytesFor(at, length)

    const upload = startUpload(bytes, tusOptions(clients.server, at, { chunkSize }))
    await upload.done

    const expected = Array.from({ length: Math.ceil(length / chunkSize) }, (_, n) => n * chunkSize)
    expect(chunks(upload)).toEqual(expected)
    await expectStored(clients.server, at, bytes)
  })

  it('in chunks that are an exact part of the file ends with the last of them', async () => {
    const at = await place()
    const bytes = bytesFor(at, 4000)

    const upload = startUpload(bytes, tusOptions(clients.server, at, { chunkSize: 2000 }))
    await upload.done

    expect(upload.sent).toEqual(['POST', 'PATCH 0', 'PATCH 2000'])
    await expectStored(clients.server, at, bytes)
  })

  it('of an empty file is done when it is begun', async () => {
    const at = await place()

    const { sent, done } = startUpload(Buffer.alloc(0), tusOptions(clients.server, at))
    await done

    expect(sent).toEqual(['POST'])
    await expectStored(clients.server, at, Buffer.alloc(0))
  })

  it('can bring its first chunk with its beginning', async () => {
    const at = await place()
    const bytes = bytesFor(at, 5000)
    const options = { uploadDataDuringCreation: true, chunkSize: 2000 }

    const upload = startUpload(bytes, tusOptions(clients.server, at, options))
    await upload.done

    expect(upload.sent).toEqual(['POST', 'PATCH 2000', 'PATCH 4000'])
    await expectStored(clients.server, at, bytes)
  })

  it('can be a single request', async () => {
    const at = await place()
    const bytes = bytesFor(at, 5000)

    const options = tusOptions(clients.server, at, { uploadDataDuringCreation: true })
    const { sent, done } = startUpload(bytes, options)
    await done

    expect(sent).toEqual(['POST'])
    await expectStored(clients.server, at, bytes)
  })

  // One that ends with a chunk is never finished by tus-js-client in Node, whatever the server is.
  it.each([
    ['ends within a chunk', 10_000],
    ['is shorter than a chunk', 10],
  ])('of a stream whose length nobody knows, and which %s', async (_how, length) => {
    const at = await place()
    const bytes = bytesFor(at, length)
    const stream = Readable.from([bytes.subarray(0, length / 2), bytes.subarray(length / 2)], {
      objectMode: false,
    })

    const options = { uploadLengthDeferred: true, chunkSize: 4096 }
    const { done } = startUpload(stream, tusOptions(clients.server, at, options))
    await done

    await expectStored(clients.server, at, bytes)
  })

  it('of nothing, whose length was not said before, is an empty object', async () => {
    const at = await place()

    const options = tusOptions(clients.server, at, { uploadLengthDeferred: true })
    const { sent, done } = startUpload(Buffer.alloc(0), options)
    await done

    expect(sent).toEqual(['POST', 'PATCH 0'])
    await expectStored(clients.server, at, Buffer.alloc(0))
  })

  it('goes through networks that know no PATCH', async () => {
    const at = await place()
    const bytes = bytesFor(at, 5000)

    const options = { overridePatchMethod: true, chunkSize: 3000 }
    const { sent, done } = startUpload(bytes, tusOptions(clients.server, at, options))
    await done

    expect(sent).toEqual(['POST', 'POST 0', 'POST 3000'])
    await expectStored(clients.server, at, bytes)
  })

  it('is seen by nobody before its last byte', async () => {
    const at = await place()
    const list = async () => {
      const response = await clients.server.request('POST', `/storage/v1/object/list/${at.bucket}`, {
        body: { prefix: '' },
      })
      return ((await response.json()) as { name: string }[]).map(({ name }) => name)
    }
    const seen: string[][] = []
    const { done } = startUpload(
      bytesFor(at, 3000),
      tusOptions(clients.server, at, {
        chunkSize: 1000,
        onBeforeRequest: async () => {
          seen.push(await list())
        },
      }),
    )
    await done

    expect(seen).toEqual([[], [], [], []])
    expect(await list()).toEqual(['a.bin'])
  })

  it('does not mind others at the same time', async () => {
    const bucket = await clients.bucket()
    const places = Array.from({ length: 8 }, (_, n) => ({ bucket, name: `file-${n}` }))

    await Promise.all(
      places.map((at, n) => {
        const options = tusOptions(clients.server, at, { chunkSize: 64 * 1024 + n })
        return startUpload(bytesFor(at, 300_000 + n), options).done
      }),
    )

    for (const [n, at] of places.entries()) await expectStored(clients.server, at, bytesFor(at, 300_000 + n))
  })

  it('tells how far it is after each chunk', async () => {
    const at = await place()
    const told: number[] = []
    const { done } = startUpload(
      bytesFor(at, 5000),
      tusOptions(clients.server, at, {
        chunkSize: 2000,
        onChunkComplete: (_size, accepted) => told.push(accepted),
        onBeforeRequest: async () => {
          told.push(await notedOffset(clients.server, at.name))
        },
      }),
    )
    await done

    expect(told.slice(-6)).toEqual([0, 2000, 2000, 4000, 4000, 5000])
  })
})

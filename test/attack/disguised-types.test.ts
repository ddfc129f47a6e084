import { deflateRawSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BEGINNINGS, fileOf, type Kind, zipOf } from '../support/file-samples.ts'
import { field, file, form, MULTIPART } from '../support/multipart.ts'
import { exchange, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift } from '../support/traces.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

const OCTETS = 'application/octet-stream'

/** Bytes that are two things, or would be dear to look into; and what is to become of them in a bucket of pictures. */
const DISGUISED: [what: string, type: string, bytes: Buffer, status: number][] = [
  ['a program that is called a picture', 'image/png', fileOf('elf'), 415],
  ['a program by its name', 'image/x-own', fileOf('exe'), 415],
  ['a page that is called a picture', 'image/gif', Buffer.from('<html><script>alert(1)</script>'), 415],
  ['a script that begins with the letters of one', 'image/gif', Buffer.from('GIF=1;alert(1)'), 415],
  ['an archive that is called a drawing', 'image/svg+xml', fileOf('jar'), 415],
  ['a program with a picture in it', 'image/png', Buffer.concat([fileOf('elf', 200), fileOf('png')]), 415],
  ['a picture with an archive at its end', 'image/gif', Buffer.concat([fileOf('gif'), fileOf('jar')]), 201],
  ['nothing that is called a picture', 'image/png', Buffer.alloc(0), 201],
  ['one byte that is called a picture', 'image/png', Buffer.from([0x89]), 415],
  ['gigabytes, packed', OCTETS, gzipSync(Buffer.alloc(20_000_000)), 415],
  ['an archive that says that it has gigabytes', OCTETS, lyingZip(), 415],
  ['a document that unpacks into a megabyte', OCTETS, packedZip(), 415],
  ['boxes in boxes', OCTETS, Buffer.from('1a45dfa3'.repeat(2000), 'hex'), 415],
  ['tags behind tags', OCTETS, Buffer.from(`ID3\x04\0\0\0\0\0\0`.repeat(800), 'latin1'), 415],
  ['marks of an order behind each other', OCTETS, Buffer.from('efbbbf'.repeat(3000), 'hex'), 415],
]

/** Its first entry would be as long as can be said. */
function lyingZip(): Buffer {
  const zip = zipOf({ '[Content_Types].xml': '<Types/>' })
  zip.writeUInt32LE(0xfffffffe, 18)
  zip.writeUInt32LE(0xfffffffe, 22)
  return zip
}

function packedZip(): Buffer {
  const packed = deflateRawSync(Buffer.alloc(1_000_000))
  const zip = zipOf({ '[Content_Types].xml': packed.toString('latin1') })
  const [head, name] = [zip.subarray(0, 30), zip.subarray(30, 49)]
  head.writeUInt16LE(8, 8)
  head.writeUInt32LE(packed.length, 18)
  head.writeUInt32LE(1_000_000, 22)
  return Buffer.concat([head, name, packed])
}

describe('types that are not what they seem', () => {
  let server: TestServer
  let auth: string
  beforeAll(async () => {
    server = await startTestServer({ STORAGE_SNIFF: 'verify', STORAGE_REQUEST_TIMEOUT: '2s' })
    auth = `Authorization: Bearer ${server.keys.serviceKey}`
    await server.createBucket('pictures', { allowed_mime_types: ['image/*'] })
    await server.createBucket('any')
  })
  afterAll(async () => {
    await expectNoDrift(server)
    await server.close()
  })

  const raw = (bucket: string, name: string, type: string, bytes: Buffer) =>
    exchange(
      server.url,
      rawRequest(
        'PUT',
        `/object/${bucket}/${name}`,
        [auth, `Content-Type: ${type}`, `Content-Length: ${bytes.length}`],
        bytes,
      ),
    )
  const inForm = (bucket: string, name: string, type: string, bytes: Buffer) =>
    exchange(
      server.url,
      rawRequest(
        'PUT',
        `/object/${bucket}/${name}`,
        [auth, MULTIPART],
        form(field('cacheControl', '60'), file(bytes, type)),
      ),
    )

  it('are refused, or what they are, beside a client that means no harm', async () => {
    const { result } = await besideInnocent(server, async () => {
      const told: [string, number, number][] = []
      for (const [what, type, bytes] of DISGUISED) {
        const [one, other] = await Promise.all([
          raw('pictures', 'raw', type, bytes),
          inForm('pictures', 'form', type, bytes),
        ])
        told.push([what, one.status, other.status])
      }
      return told
    })
    expect(result).toEqual(
      DISGUISED.map(([what, , , status]) =>
        [what, status, status].map((word) => (word === 201 ? expect.toBeOneOf([200, 201]) : word)),
      ),
    )
  })

  it('may be damaged anywhere, and are answered all the same', async () => {
    const rounds = isFull ? 40 : 3
    const { result } = await besideInnocent(server, async () => {
      const statuses = new Set<number>()
      for (let round = 0; round < rounds; round++) {
        await Promise.all(
          (Object.keys(BEGINNINGS) as Kind[]).map(async (kind, index) => {
            const bytes = fileOf(kind, 5000)
            // Somewhere among what a parser takes for lengths and counts.
            bytes[(round * 7 + index * 3) % 64] = 0xff
            for (const type of [OCTETS, 'image/png', 'video/mp4']) {
              statuses.add((await raw('any', `damaged-${kind}`, type, bytes)).status)
            }
          }),
        )
      }
      return statuses
    })
    expect([...result].filter((status) => ![200, 201, 415].includes(status))).toEqual([])
  })

  it('may be kept to oneself: who brings the first bytes one by one has no more time than others', async () => {
    const { result } = await besideInnocent(server, async () => {
      const dribblers = Array.from({ length: isFull ? 100 : 20 }, async (_, index) => {
        const connection = await RawConnection.open(server.url)
        const type = index % 2 === 0 ? OCTETS : 'image/png'
        const head = [auth, `Content-Type: ${type}`, 'Content-Length: 1000000']
        await connection.send(rawRequest('POST', `/object/any/dribbled-${index}`, head))
        let isAnswered = false
        const answer = connection.response().finally(() => {
          isAnswered = true
        })
        const bytes = fileOf('png')
        for (let sent = 0; !isAnswered && sent < bytes.length; sent++) {
          await connection.send(bytes.subarray(sent, sent + 1))
          await Promise.race([answer.catch(() => {}), new Promise((resolve) => setTimeout(resolve, 50))])
        }
        const { status } = await answer
        connection.abort()
        return status
      })
      return Promise.all(dribblers)
    })
    expect(new Set(result)).toEqual(new Set([408]))
  })
})

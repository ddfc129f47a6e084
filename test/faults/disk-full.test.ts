import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import { file, form, MULTIPART } from '../support/multipart.ts'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { IN_FILES, startTestServer } from '../support/server.ts'
import { canMount, mountSmallDisk, type SmallDisk } from '../support/small-disk.ts'
import { until } from '../support/wait.ts'
import { driftCount, findDrift, NO_DRIFT } from './drift.ts'
import { isFull } from './size.ts'
import { content, sha256 } from './steps/operations.ts'
import { Tally } from './tally.ts'

const MiB = 1024 * 1024

/** Without the right to mount, `file-steps.test.ts` still makes each single write fail as on a full disk. */
describe.runIf(canMount)('on a disk of 8 MiB (needs the right to mount)', () => {
  const tally = new Tally('disk full')
  let disk: SmallDisk
  let server: S3TestServer

  beforeAll(async () => {
    disk = mountSmallDisk('size=8m')
    server = await startS3Server({ ...IN_FILES, STORAGE_FSYNC: 'true', STORAGE_DATA_DIR: disk.folder })
    await server.createBucket('box')
  })
  afterAll(async () => {
    await server?.close()
    disk.remove()
    tally.print()
    expect([tally.lost, tally.leaked]).toEqual([0, 0])
  })

  /** Takes all the room that is left, as another program on the disk would. */
  const filler = () => join(disk.folder, 'filler')
  const fillUp = () => writeFile(filler(), Buffer.alloc(9 * MiB)).catch(() => {})
  const makeRoom = () => rm(filler(), { force: true })

  beforeEach(async () => {
    await makeRoom()
    tally.rounds++
    tally.leaked += driftCount(await findDrift(server))
    expect(await findDrift(server)).toEqual(NO_DRIFT)
  })

  async function put(path: string, bytes: Buffer, init: { headers?: Record<string, string> } = {}) {
    const response = await server.request('PUT', `/object/${path}`, {
      ...init,
      body: bytes as unknown as string,
    })
    const text = await response.text()
    if (response.ok) tally.acknowledged++
    return { status: response.status, text }
  }

  async function expectFull({ status, text }: { status: number; text: string }): Promise<void> {
    expect([status, JSON.parse(text)]).toEqual([
      507,
      expect.objectContaining({ statusCode: '507', message: 'There is no space left to store the object' }),
    ])
  }

  async function expectThere(path: string, bytes: Buffer): Promise<void> {
    const response = await server.request('GET', `/object/${path}`)
    const found = sha256(new Uint8Array(await response.arrayBuffer()))
    if (found !== sha256(bytes)) tally.lost++
    expect([path, response.status, found]).toEqual([path, 200, sha256(bytes)])
  }

  const LARGE = content('larger than the disk', 9 * MiB)
  const KINDS: [string, (path: string, bytes: Buffer) => ReturnType<typeof put>][] = [
    ['raw', put],
    [
      'chunked',
      (path, bytes) => put(path, new Blob([bytes as Uint8Array<ArrayBuffer>]).stream() as unknown as Buffer),
    ],
    [
      'a form',
      (path, bytes) =>
        put(path, form(file(bytes)), { headers: { 'content-type': MULTIPART.replace(/^.*?: /, '') } }),
    ],
  ]

  it.each(KINDS)(
    'an upload that does not fit (%s) gets 507 and leaves no part of it',
    async (_kind, upload) => {
      const before = await server.storedFiles()
      await expectFull(await upload('box/never', LARGE))
      expect(await findDrift(server)).toEqual(NO_DRIFT)
      expect(await server.storedFiles()).toEqual(before)
      expect((await server.request('GET', '/object/box/never')).status).toBe(404)
      // What it had taken is free again, at once.
      expect((await upload('box/fits', content('fits', MiB))).status).toBeLessThan(202)
      await expectThere('box/fits', content('fits', MiB))
    },
  )

  it.each(KINDS)('an overwrite that does not fit (%s) leaves the object as it was', async (_kind, upload) => {
    const old = content('old', MiB)
    expect((await put('box/over', old)).status).toBeLessThan(202)
    await expectFull(await upload('box/over', LARGE))
    await expectThere('box/over', old)
    expect(await findDrift(server)).toEqual(NO_DRIFT)
  })

  it('when there is no room at all, small uploads get 507 too; reads and deletes go on', async () => {
    const kept = content('kept', MiB)
    const small = content('small', 3000)
    await put('box/kept', kept)
    await put('box/small', small)
    await put('box/goes', kept)
    await fillUp()
    await expectFull(await put('box/another', small))
    await expectFull(await put('box/small', content('other', 30_000)))
    await expectThere('box/kept', kept)
    await expectThere('box/small', small)
    const range = await server.request('GET', '/object/box/kept', { headers: { range: 'bytes=5-9' } })
    expect([range.status, await range.text()]).toEqual([206, kept.subarray(5, 10).toString()])
    const list = await server.request('POST', '/object/list/box', { body: { prefix: '', search: 'kept' } })
    expect(await list.json()).toEqual([expect.objectContaining({ name: 'kept' })])

    // It says what is wrong, and a delete gives the room that the next upload takes: no restart in between.
    await until(async () => (await server.request('GET', '/health')).status === 503, 'the health is bad')
    expect(await (await server.request('GET', '/health')).json()).toMatchObject({
      database: 'ok',
      backend: 'failing',
    })
    expect((await server.request('DELETE', '/object/box/goes')).status).toBe(204)
    expect((await put('box/another', small)).status).toBe(201)
    await expectThere('box/another', small)
    await makeRoom()
    await until(async () => (await server.request('GET', '/health')).status === 200, 'the health is good')
    await put('box/small', content('other', 30_000))
    await expectThere('box/small', content('other', 30_000))
  })

  it('many uploads at once are each stored whole or refused, and nothing of the refused is left', async () => {
    const rounds = isFull ? 10 : 2
    for (let round = 0; round < rounds; round++) {
      const bodies = Array.from({ length: 24 }, (_, n) =>
        content(`${round} ${n}`, n % 3 === 0 ? 100_000 : MiB),
      )
      const answers = await Promise.all(bodies.map((body, n) => put(`box/many/${round}-${n}`, body)))
      const refused = answers.filter(({ status }) => status !== 201)
      expect(refused.length).toBeGreaterThan(0)
      expect(refused.length).toBeLessThan(bodies.length)
      for (const one of refused) await expectFull(one)
      expect(await findDrift(server)).toEqual(NO_DRIFT)
      for (const [n, { status }] of answers.entries()) {
        const path = `box/many/${round}-${n}`
        if (status === 201) await expectThere(path, bodies[n] as Buffer)
        else expect((await server.request('GET', `/object/${path}`)).status).toBe(404)
      }
      const prefixes = answers.map((_, n) => `many/${round}-${n}`)
      await server.request('DELETE', '/object/box', { body: { prefixes } })
    }
    expect((await put('box/after', content('after', MiB))).status).toBe(201)
  })

  it('a part that does not fit gets 507, and what has come of its upload stays', async () => {
    const at = { Bucket: 'box', Key: 'in parts' }
    const { UploadId } = await server.s3.send(new CreateMultipartUploadCommand(at))
    const part = (PartNumber: number, Body: Buffer) =>
      server.s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber, Body }))
    const first = content('first', MiB)
    const { ETag } = await part(1, first)
    await expect(part(2, LARGE)).rejects.toMatchObject({ $metadata: { httpStatusCode: 507 } })
    // Nor does another of the first one's number take its place.
    await expect(part(1, LARGE)).rejects.toMatchObject({ $metadata: { httpStatusCode: 507 } })
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    await server.s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload }))
    tally.acknowledged++
    await expectThere('box/in%20parts', first)
    expect(await findDrift(server)).toEqual(NO_DRIFT)
    await server.request('DELETE', '/object/box/in%20parts')
  })

  it('a copy that finds no room for its name gets 507, and its source stays', async () => {
    const few = mountSmallDisk('size=1m,nr_inodes=40')
    const cramped = await startTestServer({ ...IN_FILES, STORAGE_DATA_DIR: few.folder })
    try {
      await cramped.createBucket('box')
      const ask = async (method: string, path: string, body: string | object) => {
        const response = await cramped.request(method, path, { body })
        return { status: response.status, text: await response.text() }
      }
      await ask('PUT', '/object/box/source', 'bytes')
      // Names cost as much as files here, so copies use them up.
      const copy = (n: number) =>
        ask('POST', '/object/copy', { bucketId: 'box', sourceKey: 'source', destinationKey: `copy-${n}` })
      let copies = 0
      for (;;) {
        const answer = await copy(copies)
        if (answer.status !== 200) {
          await expectFull(answer)
          break
        }
        copies++
        tally.acknowledged++
        expect(copies).toBeLessThan(40)
      }
      expect(await findDrift(cramped)).toEqual(NO_DRIFT)
      expect((await cramped.request('GET', `/object/box/copy-${copies}`)).status).toBe(404)
      for (const name of ['source', ...Array.from({ length: copies }, (_, n) => `copy-${n}`)]) {
        expect(await (await cramped.request('GET', `/object/box/${name}`)).text()).toBe('bytes')
      }
      await cramped.request('DELETE', '/object/box', { body: { prefixes: ['copy-0', 'copy-1', 'copy-2'] } })
      await cleanUp(cramped)
      expect((await copy(copies)).status).toBe(200)
    } finally {
      await cramped.close()
      few.remove()
    }
  })
})

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bytesFor, expectStored, MiB, startUpload, tusOptions } from '../support/tus.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'
import { itSurvivesKills } from './killed-uploads.ts'

describe('a resumable upload', () => {
  const servers = itSurvivesKills(async () => ({}))

  it('loses nothing that has arrived when its server is stopped in order, which does not wait for it', async () => {
    const at = { bucket: 'box', name: 'stopped.bin' }
    const bytes = bytesFor(at, 2 * MiB)
    const server = await servers().start()
    const raw = new TusRequests(servers())
    const url = await raw.begin(at, bytes.length)
    const connection = await raw.stall(url, 0, bytes.length, bytes.subarray(0, 600_000))
    await until(async () => (await written()) >= 512 * 1024, 'the server is writing')
    await connection.send(bytes.subarray(600_000, 650_000))
    // The server has looked at its connections again.
    expect((await servers().request('GET', '/status')).status).toBe(200)

    server.signal('SIGTERM')

    const { code, stdout } = await server.ended
    expect([code, stdout.includes('still running')]).toEqual([0, false])
    expect((await connection.response()).status).toBe(503)
    connection.abort()
    await servers().start()
    const upload = startUpload(bytes, { ...tusOptions(servers(), at), uploadUrl: url })
    await upload.done
    expect(upload.sent).toEqual(['HEAD', 'PATCH 650000'])
    await expectStored(servers(), at, bytes)
  })

  /** How much of the one upload that is not finished is in its file, in bytes. */
  async function written(): Promise<number> {
    const { database, folder } = servers()
    const [row] = await database.admin`select version, bucket_uid from storage.uploads`
    const version = String(row?.version)
    const path = join(
      folder,
      'storage-data',
      'objects',
      String(row?.bucket_uid),
      version.slice(0, 2),
      version,
    )
    return stat(path).then(
      ({ size }) => size,
      () => 0,
    )
  }
})

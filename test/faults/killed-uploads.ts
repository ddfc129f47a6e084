import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  bytesFor,
  chunks,
  expectStored,
  MiB,
  notedOffset,
  PERSISTENTLY,
  startUpload,
  tusOptions,
} from '../support/tus.ts'
import { until } from '../support/wait.ts'
import { ServerProcesses } from './server-processes.ts'

/**
 * What a client notices of servers that are killed while they receive one long chunk of its upload.
 *
 * @param settings of the servers
 * @returns the servers, while tests run
 */
export function itSurvivesKills(settings: () => Promise<Record<string, string>>): () => ServerProcesses {
  let servers: ServerProcesses
  beforeAll(async () => {
    servers = await ServerProcesses.open({
      // What is under way must not be cleaned up, however eager the cleanup is.
      STORAGE_CLEANUP_INTERVAL: '200ms',
      STORAGE_CLEANUP_GRACE: '500ms',
      ...(await settings()),
    })
    await servers.start()
    const made = await servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })
    expect(made.status).toBe(201)
  })
  afterAll(() => servers?.remove())

  it.each([
    ['is killed and started again', false],
    ['is killed, and there is another', true],
  ])('goes on from what was noted when its server %s', async (how, hasOther) => {
    const at = { bucket: 'box', name: `${how}.bin` }
    const bytes = bytesFor(at, 20 * MiB)
    const other = hasOther ? await servers.start() : undefined
    const victim = await servers.start()
    servers.line.bytesPerSecond = 8 * MiB
    const upload = startUpload(bytes, { ...tusOptions(servers, at), retryDelays: PERSISTENTLY })
    await until(async () => (await notedOffset(servers.database, at.name)) > 0, 'some progress is noted')

    victim.signal('SIGKILL')
    await victim.ended
    const noted = await notedOffset(servers.database, at.name)
    if (other) servers.line.target = await other.url()
    else await servers.start()
    servers.line.bytesPerSecond = Number.POSITIVE_INFINITY
    await upload.done

    expect(noted).toBeGreaterThan(0)
    expect(chunks(upload)).toEqual([0, noted])
    await expectStored(servers, at, bytes)
  })

  return () => servers
}

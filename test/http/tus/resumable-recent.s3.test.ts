import { openBackend } from '../../../src/backend/open.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import type { TestServer } from '../../support/server.ts'
import { MiB } from '../../support/tus.ts'
import { testRecentChunks } from './resumable-recent.ts'

describeWithS3('a chunk to a server with an S3 store', (s3) => {
  const env = async () => ({ ...(await s3Env(s3)), STORAGE_S3_PART_SIZE: String(5 * MiB) })
  testRecentChunks(env, writtenToStore)
})

/** How much it has of versions that are not whole: objects and uploads in parts. */
async function writtenToStore({ config }: TestServer): Promise<number> {
  const backend = await openBackend(config.backend, config)
  let found = 0
  for await (const _one of backend.unfinished()) found++
  await backend.close()
  return found
}

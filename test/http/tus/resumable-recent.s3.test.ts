import { openBackend } from '../../../src/backend/open.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import type { TestServer } from '../../support/server.ts'
import { MiB } from '../../support/tus.ts'
import { testRecentChunks } from './resumable-recent.ts'

describeWithS3('a chunk to a server with an S3 store', (s3) => {
  const env = async () => ({ ...(await s3Env(s3)), STORAGE_S3_PART_SIZE: String(5 * MiB) })
  testRecentChunks(env, writtenToStore)
})

/**
 * How many uploads in parts it has, of versions that are not whole. Not what lies beside them until it fills a part: of a chunk
 * before, that goes when it likes.
 */
async function writtenToStore({ config }: TestServer): Promise<number> {
  const backend = await openBackend(config.backend, config)
  let found = 0
  for await (const one of backend.unfinished()) if ('isPart' in one && !one.isPart) found++
  await backend.close()
  return found
}

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'vitest'
import type { TestServer } from '../../support/server.ts'
import { testRecentChunks } from './resumable-recent.ts'

describe.each([
  ['as it is by default', {}],
  ['compatible with Supabase', { STORAGE_COMPAT: 'supabase' }],
])('a chunk to a server %s', (_how, env) => {
  testRecentChunks(async () => env, writtenToFiles)
})

/** In bytes, of all files. */
async function writtenToFiles(server: TestServer): Promise<number> {
  const paths = (await server.storedFiles()).map((file) => join(server.dataDir, 'objects', file))
  const sizes = await Promise.all(paths.map(async (path) => (await stat(path)).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

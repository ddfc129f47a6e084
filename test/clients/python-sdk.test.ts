import { execFile, execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { startTestServer } from '../support/server.ts'

const WALK = fileURLToPath(new URL('python-sdk.py', import.meta.url))

/**
 * Supabase's SDK is the package storage3, which Debian has not, so the gate does without: the SDK's own bodies are in
 * test/http/message/lenient-json.test.ts. Where a machine has it, this is the real one.
 */
function hasSdk(): boolean {
  try {
    execFileSync('python3', ['-c', 'import storage3'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

describe.skipIf(!hasSdk())('Supabase’s Python SDK (needs python3 with storage3)', () => {
  it.each([
    ['by default', {}],
    ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
  ])('does all that it can do, %s', async (_mode, env) => {
    const server = await startTestServer(env)
    try {
      const { stdout } = await promisify(execFile)('python3', [WALK, server.url, server.keys.serviceKey])
      const steps = Object.fromEntries(
        stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line)),
      )
      expect(steps).toEqual({
        get_bucket: ['python', true, 1000, ['text/*']],
        list_buckets: ['python'],
        upload: 'in/a b.txt',
        update: 'in/a b.txt',
        download: 'hello again',
        info: 'in/a b.txt',
        exists: [true, false],
        copy: 'python/in/b.txt',
        move: { message: 'Successfully moved' },
        list: ['c.txt', 'a b.txt'],
        list_v2: ['in/a b.txt', 'in/c.txt'],
        create_signed_url: 'hello again',
        'download as': expect.stringContaining('other.txt'),
        create_signed_urls: [
          'hello again',
          'Either the object does not exist or you do not have access to it',
        ],
        upload_to_signed_url: 'in/d.txt',
        remove: ['in/c.txt'],
        delete_bucket: [],
      })
    } finally {
      await server.close()
    }
  })
})

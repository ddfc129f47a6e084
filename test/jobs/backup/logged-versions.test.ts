import pino from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { VersionRow } from '../../../src/database/dump/snapshot.ts'
import { LoggedVersions } from '../../../src/jobs/backup/logged-versions.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { VersionSteps } from '../../support/version-steps.ts'
import { MemoryTarget } from './memory-target.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer(IN_FILES)
})
afterAll(() => server.close())

it('where versions are kept, each one’s bytes are copied once, whatever has become of it', async () => {
  const steps = new VersionSteps(server)
  const bucket = await steps.newBucket()
  const before = await steps.uploaded('before', 'one')
  const copied: VersionRow[] = []
  const logged = await LoggedVersions.open({
    database: server.database,
    target: new MemoryTarget(),
    copyBytes: async (_target, row) => {
      copied.push(row)
      return { version: row.version, bucket: row.bucket, sha256: row.checksum ?? '', size: row.size ?? 0 }
    },
    logger: pino({ level: 'silent' }),
  })
  const { signal } = new AbortController()
  const versionsOf = async (name: string) =>
    (
      await server.admin<{ version: string }[]>`
        select version from storage.objects where bucket_id = ${bucket} and name = ${name}
        union select version from storage.object_versions
          where bucket_id = ${bucket} and name = ${name} and not is_delete_marker`
    ).map(({ version }) => version)

  await steps.uploaded('a', 'one', 'two')
  expect(await logged.copy(signal)).toBe(true)
  const early = copied.map(({ version }) => version)
  expect(early.sort()).toEqual((await versionsOf('a')).sort())

  // What becomes of them makes events, and no bytes that are not there.
  await steps.uploaded('a', 'three')
  await steps.ask('DELETE', `/object/${bucket}/a`)
  await steps.ask('DELETE', `/object/${bucket}/before`)
  await steps.uploaded('b', 'one')
  await steps.json('POST', '/object/move', {
    body: { bucketId: bucket, sourceKey: 'b', destinationKey: 'c' },
  })
  expect(await logged.copy(signal)).toBe(true)
  const expected = [...(await versionsOf('a')), ...(await versionsOf('b')), ...(await versionsOf('c'))]
  expect(copied.map(({ version }) => version).sort()).toEqual(expected.sort())
  expect(new Set(expected).size).toBe(5)
  expect(expected).not.toContain(before[0])
  await logged.writeList()
  expect(logged.areListed).toBe(true)
})

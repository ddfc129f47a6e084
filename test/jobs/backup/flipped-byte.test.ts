import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BackupParts } from '../../../src/jobs/backup/run.ts'
import { verifyBackup } from '../../../src/jobs/backup/verify.ts'
import { newSeed, Random } from '../../faults/random.ts'
import { backUp } from '../../support/backups.ts'
import { type OwnPostgres, startOwnPostgres } from '../../support/own-postgres.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { MemoryTarget } from './memory-target.ts'

// Of every kind of file that a backup of a real server has, see docs/backups.md. What else can be wrong is in verify.test.ts.

const { signal } = new AbortController()

describe.each([
  {
    database: 'the built-in PostgreSQL',
    kinds: ['database', 'database.folders', 'wal'],
    hasCluster: true,
  },
  { database: 'DATABASE_URL', kinds: ['sql/definitions.sql'], hasCluster: false },
])('one flipped byte in a backup of a server with $database', ({ kinds, hasCluster }) => {
  let own: OwnPostgres
  let server: TestServer
  const target = new MemoryTarget()
  let id: string
  beforeAll(async () => {
    own = await startOwnPostgres()
    server = await startTestServer({}, { postgres: own.place })
    await server.createBucket('box')
    await server.request('PUT', '/object/box/large', { body: randomBytes(500_000) as unknown as string })
    await server.request('PUT', '/object/box/small', { body: 'few bytes' })
    const keysFile = join(server.dataDir, 'keys.json')
    await writeFile(keysFile, JSON.stringify({ secret: 'of the server' }))
    const { host } = own.place
    const cluster: BackupParts['cluster'] = hasCluster ? { address: own.place, folder: host } : null
    id = (await backUp(server, target, { keysFile }, cluster)).manifest.id
  })
  afterAll(async () => {
    await server?.close()
    await own?.remove()
  })

  it('is found, and its file is named, whichever kind of file it is in', async () => {
    const random = new Random(newSeed())
    const byKind = grouped([...target.files.keys()], (path) => kindOf(path.slice(id.length + 1)))
    expect([...byKind.keys()]).toEqual(expect.arrayContaining([...OF_ALL, ...kinds]))
    for (const [kind, paths] of byKind) {
      const filled = paths.filter((path) => target.files.get(path)?.length)
      if (filled.length === 0) continue // of a table without rows
      const path = filled[random.below(filled.length)] ?? ''
      const bytes = target.files.get(path) ?? Buffer.alloc(0)
      const at = random.below(bytes.length)
      const flipped = Buffer.from(bytes)
      flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(8))
      target.files.set(path, flipped)
      const { findings } = await verifyBackup(target, id, { signal })
      const found = [...new Set(findings.map(({ path }) => path))]
      expect([kind, at, random.seed, found]).toEqual([kind, at, random.seed, [path]])
      target.files.set(path, bytes)
    }
    expect((await verifyBackup(target, id, { signal })).findings).toEqual([])
  })
})

const OF_ALL = [
  'manifest.json',
  'files.ndjson',
  'bytes.ndjson',
  'keys.json',
  'rows/buckets.ndjson',
  'rows/objects.ndjson',
  'rows/inline_bytes.ndjson',
  'bytes',
]

/** A file in the folder of a backup, or the folder of many alike. */
function kindOf(path: string): string {
  const [folder = ''] = path.split('/')
  return ['bytes', 'database', 'wal'].includes(folder) ? folder : path
}

function grouped(paths: string[], kind: (path: string) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const path of paths) groups.set(kind(path), [...(groups.get(kind(path)) ?? []), path])
  return groups
}

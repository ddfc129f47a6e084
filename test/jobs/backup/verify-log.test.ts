import { createHash } from 'node:crypto'
import { beforeEach, describe, expect, it } from 'vitest'
import { SEGMENT_BYTES } from '../../../src/database/embedded/log-segments.ts'
import { bytesPath } from '../../../src/jobs/backup/entries.ts'
import {
  type LogStatus,
  listName,
  writeLogStatus,
  writeSegment,
  writeVersions,
} from '../../../src/jobs/backup/log-folder.ts'
import { writeManifest } from '../../../src/jobs/backup/manifest.ts'
import { verifyLog } from '../../../src/jobs/backup/verify-log.ts'
import { MemoryTarget } from './memory-target.ts'
import { newManifest } from './new-manifest.ts'

const NEVER = new AbortController().signal
const SEGMENTS = ['000000010000000000000003', '000000010000000000000004', '000000020000000000000005']
const BYTES = Buffer.from('bytes of a version')
const SHA256 = createHash('sha256').update(BYTES).digest('hex')
/** After the backup. */
const LISTED = Date.parse('2026-11-28T10:16:00Z')
const STATUS: LogStatus = {
  system_identifier: '7300000000000000000',
  timeline: 2,
  since: '0/2000000',
  next: '0/6000000',
  until: '2026-11-28T10:17:00.000Z',
  last_list: LISTED,
}
/** From its middle of the first segment on the log is needed. */
const BACKUP = newManifest({
  database: {
    kind: 'embedded',
    postgres: '18.1',
    system_identifier: STATUS.system_identifier,
    start_lsn: '0/3000028',
  },
})

let target: MemoryTarget
beforeEach(async () => {
  target = new MemoryTarget()
  await writeManifest(target, BACKUP)
  await target.write(`log/${bytesPath(SHA256)}`, BYTES)
  const place = { bucket: '00000000-0000-4000-8000-000000000001', size: BYTES.length, sha256: SHA256 }
  const entries = [{ version: '00000000-0000-4000-8000-00000000000a', ...place }]
  await writeVersions(target, { time: LISTED - 1, previous: LISTED - 3_600_000 }, entries) // which was trimmed
  await writeVersions(target, { time: LISTED, previous: LISTED - 1 }, entries)
  for (const name of SEGMENTS) await writeSegment(target, name, Buffer.alloc(SEGMENT_BYTES, name))
  await writeSegment(target, '00000002.history', Buffer.from('1\t0/5000000\tno reason\n'))
  await writeLogStatus(target, STATUS)
})

const kinds: [string, (path: string) => boolean][] = [
  ['the state', (path) => path === 'log/state.json'],
  ['a list of versions', (path) => path.startsWith(listName(LISTED - 1))],
  ['the last list of versions', (path) => path.startsWith(listName(LISTED))],
  ['the bytes of a version', (path) => path.startsWith('log/bytes/')],
  ['a segment', (path) => path.endsWith('3.gz')],
  ['a segment of another timeline', (path) => path.endsWith('5.gz')],
  ['a history', (path) => path.endsWith('.history.gz')],
]
const pathOf = (is: (path: string) => boolean) => [...target.files.keys()].find(is) ?? ''

describe('the log', () => {
  it('is whole, with all that was read of it', async () => {
    const report = await verifyLog(target, NEVER)
    expect(report).toMatchObject({ findings: [], count: 0, files: 5 })
    expect(report?.bytes).toBeGreaterThan(3 * SEGMENT_BYTES)
  })

  it.each(kinds)('has a flipped byte in %s, which is found and named', async (_, is) => {
    const path = pathOf(is)
    const bytes = Buffer.from(target.files.get(path) ?? '')
    const at = Math.floor(bytes.length / 2)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    target.files.set(path, bytes)
    const report = await verifyLog(target, NEVER)
    expect(report).toMatchObject({ count: 1, findings: [{ kind: 'changed', path }] })
  })

  it.each(kinds)('misses %s, by its name', async (_, is) => {
    const path = pathOf(is)
    target.files.delete(path)
    const [finding, ...others] = (await verifyLog(target, NEVER))?.findings ?? []
    // Which timeline a missing segment is of nobody can tell: it is said of the latest. Nor what was in a list.
    const said = path.replace('/00000001', '/00000002').replace(/-\d{15}-[0-9a-f]{64}\.ndjson$/, '')
    expect([finding?.kind, finding?.path, others]).toEqual(['missing', said, []])
  })

  it('needs nothing from before the oldest backup, and may not be there at all', async () => {
    target.files.delete('log/wal/000000010000000000000003.gz')
    await target.removeAll(`${BACKUP.id}/`)
    const later = { ...BACKUP.database, start_lsn: '0/4000028' }
    await writeManifest(target, newManifest({ database: later }))
    expect((await verifyLog(target, NEVER))?.findings).toEqual([])
    await target.removeAll('log/')
    expect(await verifyLog(target, NEVER)).toBeNull()
  })
})

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AuditEntry } from '../../src/telemetry/audit-entry.ts'
import { AuditFiles } from '../../src/telemetry/audit-files.ts'
import { AUDIT_LIMITS, AuditQueue } from '../../src/telemetry/audit-queue.ts'
import { AuditRefusals } from '../../src/telemetry/audit-refusals.ts'
import { until } from '../support/wait.ts'

const QUICK = { ...AUDIT_LIMITS, flushMs: 1, retryMs: 1, closeMs: 50, batch: 10, waiting: 100, most: 1000 }

let folder: string
let written: AuditEntry[]
/** What the database does with a batch. */
let take: (entries: AuditEntry[]) => Promise<void>
let logs: string[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'strongroom-audit-'))
  written = []
  logs = []
  take = async (entries) => void written.push(...entries)
})
afterEach(() => rm(folder, { recursive: true, force: true }))

function open(limits = QUICK): AuditQueue {
  const logger = pino({ level: 'info' }, { write: (line) => void logs.push(JSON.parse(line).msg) })
  const files = new AuditFiles(join(folder, 'audit'))
  return new AuditQueue({ write: (entries) => take(entries), files, logger, limits })
}

let made = 0
function entry(fields: Partial<AuditEntry> = {}): AuditEntry {
  const id = `00000000-0000-4000-8000-${String(made++).padStart(12, '0')}`
  return {
    at: '2026-11-28T10:15:00.000Z',
    id,
    action: 'upload',
    resource_type: 'object',
    allowed: true,
    status: 200,
    repeated: 0,
    ...fields,
  }
}
const refused = (fields: Partial<AuditEntry>) => entry({ allowed: false, status: 403, ...fields })
const failing = () => Promise.reject(new Error('the database is away'))
const ids = (entries: AuditEntry[]) => [...new Set(entries.map(({ id }) => id))].sort()
const files = () => readdir(join(folder, 'audit')).catch(() => [])

describe('the queue', () => {
  it('writes soon, in batches, in the order in which things were done', async () => {
    const sizes: number[] = []
    take = async (entries) => {
      sizes.push(entries.length)
      written.push(...entries)
    }
    const queue = open()
    const all = Array.from({ length: 95 }, () => entry())
    for (const one of all) queue.add(one)
    await until(() => written.length === all.length, 'all are written')
    expect(written).toEqual(all)
    expect(Math.max(...sizes)).toBe(10)
    await queue.close()
    expect(await files()).toEqual([])
  })

  it('writes at its end what has come a moment before', async () => {
    const queue = open({ ...QUICK, flushMs: 1_000_000 })
    const one = entry()
    queue.add(one)
    await queue.close()
    expect(written).toEqual([one])
  })

  it('keeps all writes while the database is away, and writes them when it is back', async () => {
    take = failing
    const queue = open()
    const all = Array.from({ length: 1000 }, () => entry())
    for (const one of all) {
      queue.add(one)
      if (made % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await until(async () => (await files()).length > 0, 'what is too much for memory is in files')
    expect(written).toEqual([])
    take = async (entries) => void written.push(...entries)
    await until(() => ids(written).length === all.length, 'all are written')
    await until(async () => (await files()).length === 0, 'and no file is left')
    expect(ids(written)).toEqual(ids(all))
    await queue.close()
    expect(logs).toEqual([
      'the audit log cannot be written; its entries are kept',
      'the audit log is written again',
    ])
  })

  it.each([
    ['refuses', failing],
    ['does not answer', () => new Promise<never>(() => {})],
  ])('keeps in a file what the database %s at the end, for the next process', async (_, answer) => {
    take = answer
    const queue = open()
    const all = Array.from({ length: 25 }, () => entry())
    for (const one of all) queue.add(one)
    await queue.close()
    expect(await files()).toEqual([expect.stringMatching(/\.ndjson$/)])

    take = async (entries) => void written.push(...entries)
    const next = open()
    next.start()
    await until(async () => (await files()).length === 0, 'the file is taken')
    expect(ids(written)).toEqual(ids(all))
    await next.close()
  })

  it('drops reads when there is no room, and says how many; never a write', async () => {
    take = failing
    // No file takes anything: there is one where the folder should be.
    await writeFile(join(folder, 'audit'), '')
    const queue = open()
    const writes = Array.from({ length: 50 }, () => entry())
    for (const one of writes) queue.add(one)
    for (let reads = 0; reads < 200; reads++) queue.addRead(entry({ action: 'download' }))
    const more = Array.from({ length: 50 }, () => entry())
    for (const one of more) queue.add(one)
    take = async (entries) => void written.push(...entries)
    const of = (action: string) => written.filter((one) => one.action === action)
    await until(
      () => of('upload').length >= 100 && of('dropped').length > 0,
      'all is written, and it is said',
    )
    expect(ids(of('upload'))).toEqual(ids([...writes, ...more]))
    const reads = of('download').length
    expect(of('dropped')).toMatchObject([{ repeated: 200 - reads }])
    expect(reads).toBeLessThan(200)
    await queue.close()
  })

  it('has for a stranger who is refused a hundred thousand times a few entries, and all writes of others', async () => {
    const queue = open()
    const innocent: AuditEntry[] = []
    for (let n = 0; n < 100_000; n++) {
      queue.addRefused(refused({ address: '192.0.2.1', path: `${n}` }))
      if (n % 1000 === 0) {
        const one = entry({ user_id: 'innocent' })
        innocent.push(one)
        queue.add(one)
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await queue.close()
    const strange = written.filter(({ address }) => address === '192.0.2.1')
    expect(strange).toHaveLength(11)
    expect(strange.at(-1)).toMatchObject({ path: '99999', repeated: 99_989 })
    expect(ids(written.filter(({ user_id }) => user_id === 'innocent'))).toEqual(ids(innocent))
    expect(await files()).toEqual([])
  })
})

describe('refusals', () => {
  it('are told apart by who was refused, and what', () => {
    const refusals = new AuditRefusals({ each: 1, all: 100 })
    expect(refusals.admit(refused({ user_id: 'a', address: '192.0.2.1' }))).toBe(true)
    expect(refusals.admit(refused({ user_id: 'a', address: '192.0.2.2' }))).toBe(false)
    expect(refusals.admit(refused({ user_id: 'a', action: 'delete' }))).toBe(true)
    expect(refusals.admit(refused({ user_id: 'b' }))).toBe(true)
    expect(refusals.admit(refused({ address: '192.0.2.1' }))).toBe(true)
    expect(refusals.take()).toMatchObject([{ user_id: 'a', address: '192.0.2.2', repeated: 0 }])
    expect(refusals.take()).toEqual([])
    expect(refusals.admit(refused({ user_id: 'a' }))).toBe(true)
  })

  it('of any number of subjects have so many entries and no more', () => {
    const refusals = new AuditRefusals({ each: 2, all: 100 })
    let admitted = 0
    for (let n = 0; n < 10_000; n++) if (refusals.admit(refused({ address: `2001:db8::${n}` }))) admitted++
    const rest = refusals.take()
    expect(admitted).toBe(100)
    expect(rest.length).toBeLessThanOrEqual(101)
    expect(rest.reduce((sum, { repeated }) => sum + repeated + 1, admitted)).toBe(10_000)
  })
})

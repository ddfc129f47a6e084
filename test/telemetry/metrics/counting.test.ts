import { describe, expect, it } from 'vitest'
import type { ErrorCode } from '../../../src/model/errors.ts'
import { BucketLabels, MOST_BUCKETS, OTHER } from '../../../src/telemetry/metrics/bucket-labels.ts'
import { type Family, family, single } from '../../../src/telemetry/metrics/catalog.ts'
import { scraping } from '../../../src/telemetry/metrics/exposition.ts'
import { Histogram } from '../../../src/telemetry/metrics/histogram.ts'
import { SharedBuckets } from '../../../src/telemetry/metrics/merge.ts'
import { PacedLook } from '../../../src/telemetry/metrics/paced-look.ts'
import {
  type EndedRequest,
  type Outcome,
  RequestCounts,
} from '../../../src/telemetry/metrics/request-counts.ts'
import { WorkerMetrics } from '../../../src/telemetry/metrics/worker-metrics.ts'
import { type ParsedFamily, parseExposition, seriesOf, sumOf } from '../../support/exposition.ts'

async function read(...processes: Family[][]): Promise<Map<string, ParsedFamily>> {
  return parseExposition(await scraping(async () => processes)())
}

describe('a histogram', () => {
  it('counts what is at a bound below it, and what is above the last one, too', async () => {
    const times = new Histogram([0.1, 1])
    for (const seconds of [0, 0.1, 0.5, 1, 7]) times.observe(seconds)
    const name = 'storage_backend_latency_seconds'
    const of = { operation: 'read', backend: 'local' }
    const families = await read([family(name, times.samples(name, of))])
    const upTo = (le: string) => seriesOf(families, `${name}_bucket`, { ...of, le })
    expect([upTo('0.1'), upTo('1'), upTo('+Inf')]).toEqual([2, 4, 5])
    expect(seriesOf(families, `${name}_sum`, of)).toBeCloseTo(8.6)
  })
})

describe('counting requests', () => {
  const add = (
    counts: RequestCounts,
    request: EndedRequest,
    outcome: Outcome = 'success',
    refused?: ErrorCode,
  ) => counts.add('rest', request, { outcome, seconds: 0.01, refused, locked: 0 })
  const UPLOAD = 'storage.object.upload'

  it('gives no series to buckets that were only asked for', async () => {
    const counts = new RequestCounts('local')
    for (let count = 0; count < 5000; count++) {
      add(counts, { operation: UPLOAD, bucket: `made-up-${count}` }, 'invalid')
    }
    add(counts, { operation: UPLOAD, bucket: 'real', size: 5 })
    add(counts, { operation: UPLOAD, bucket: 'real' }, 'denied')
    const families = await read(counts.families())
    const buckets = families.get('storage_upload_total')?.samples.map(({ labels }) => labels.bucket)
    expect(new Set(buckets)).toEqual(new Set(['real', OTHER]))
    expect(seriesOf(families, 'storage_upload_total', { bucket: OTHER, status: 'invalid' })).toBe(5000)
    expect(seriesOf(families, 'storage_upload_total', { bucket: 'real', status: 'denied' })).toBe(1)
  })

  it('gives series to a thousand buckets, and counts all others together', async () => {
    const counts = new RequestCounts('local')
    for (let count = 0; count < MOST_BUCKETS + 10; count++) {
      add(counts, { operation: UPLOAD, bucket: `bucket-${count}`, size: 1 })
    }
    const families = await read(counts.families())
    const name = 'storage_upload_bytes_total'
    expect(families.get(name)?.samples).toHaveLength(MOST_BUCKETS + 1)
    expect(seriesOf(families, name, { bucket: OTHER, backend: 'local', tenant: 'none' })).toBe(10)
    expect(sumOf(families, name)).toBe(MOST_BUCKETS + 10)
  })

  it('takes a bucket that is called other for one of the others', () => {
    const labels = new BucketLabels(() => ({ count: 0 }))
    labels.of(OTHER, true).count++
    labels.of('made-up', false).count++
    expect(labels.entries()).toEqual([[OTHER, { count: 2 }]])
  })

  it('tells operations on buckets and access control lists apart, and counts no others as operations', async () => {
    const counts = new RequestCounts('s3')
    for (const operation of [
      'storage.bucket.create',
      'storage.s3.bucket.create',
      'storage.s3.object.get_acl',
    ]) {
      add(counts, { operation })
    }
    add(counts, { operation: 'storage.health' })
    add(counts, {}, 'invalid', 'ServerBusy')
    const families = await read(counts.families())
    expect(sumOf(families, 'storage_bucket_operations_total', { operation: 'create' })).toBe(2)
    expect(sumOf(families, 'storage_acl_operations_total', { operation: 'get' })).toBe(1)
    expect(sumOf(families, 'storage_operations_total')).toBe(0)
    expect(seriesOf(families, 'storage_requests_admitted_total')).toBe(4)
    const refused = { reason: 'ServerBusy', kind: 'room' }
    expect(seriesOf(families, 'storage_requests_refused_total', refused)).toBe(1)
  })
})

describe('the numbers of several processes', () => {
  const counted = (value: number, bucket = 'box'): Family[] => [
    single('storage_requests_admitted_total', value),
    single('storage_requests_in_flight', value),
    family('storage_upload_total', [{ labels: { bucket, status: 'success' }, value }]),
  ]
  const worker = (families: () => Family[] | Promise<Family[]>) => ({ report: async () => families() })

  it('are added up', async () => {
    const families = await read(counted(3), counted(4))
    expect(seriesOf(families, 'storage_requests_admitted_total')).toBe(7)
    expect(seriesOf(families, 'storage_upload_total', { bucket: 'box', status: 'success' })).toBe(7)
  })

  it('keep what a process had counted that has ended, and not what it was at', async () => {
    const metrics = new WorkerMetrics()
    const [first, second] = [worker(() => counted(5)), worker(() => counted(2))]
    metrics.add(first)
    metrics.add(second)
    await metrics.read()
    await metrics.remove(first)
    const families = await read(...(await metrics.read()))
    expect(seriesOf(families, 'storage_requests_admitted_total')).toBe(7)
    expect(seriesOf(families, 'storage_requests_in_flight')).toBe(2)
    await metrics.remove(second)
    const left = await read(...(await metrics.read()))
    expect(seriesOf(left, 'storage_requests_admitted_total')).toBe(7)
    expect(left.has('storage_requests_in_flight')).toBe(false)
  })

  it('are those of the time before where a process does not answer', async () => {
    const metrics = new WorkerMetrics()
    let isStuck = false
    const report = () => (isStuck ? new Promise<Family[]>(() => {}) : Promise.resolve(counted(5)))
    metrics.add({ report })
    await metrics.read()
    isStuck = true
    const families = await read(...(await metrics.read()))
    expect(seriesOf(families, 'storage_requests_admitted_total')).toBe(5)
  })

  it('have the buckets of one, always the same', async () => {
    const shared = new SharedBuckets()
    const many = (from: number) =>
      shared.limit([
        family(
          'storage_upload_total',
          Array.from({ length: 600 }, (_, index) => ({
            labels: { bucket: `bucket-${from + index}`, status: 'success' },
            value: 1,
          })),
        ),
      ])
    const families = await read(many(0), many(600))
    expect(families.get('storage_upload_total')?.samples).toHaveLength(MOST_BUCKETS + 1)
    expect(sumOf(families, 'storage_upload_total')).toBe(1200)
    const again = await read(many(600))
    expect(seriesOf(again, 'storage_upload_total', { bucket: 'bucket-700', status: 'success' })).toBe(1)
    expect(seriesOf(again, 'storage_upload_total', { bucket: OTHER, status: 'success' })).toBe(200)
  })
})

describe('a paced look', () => {
  const options = { everyMs: 3_600_000, restPerWork: 0, mostMs: 0, patienceMs: 20 }

  it('is made once for all who ask, and not again before its time', async () => {
    let looks = 0
    const look = new PacedLook(async () => ++looks, options)
    const found = await Promise.all(Array.from({ length: 100 }, () => look.find()))
    expect(found.every((one) => one.found === 1 && one.isAnswered)).toBe(true)
    expect((await look.find()).found).toBe(1)
  })

  it('keeps nobody waiting, and has what was found before', async () => {
    const answers: ((value: number) => void)[] = []
    const look = new PacedLook(() => new Promise<number>((resolve) => answers.push(resolve)), {
      ...options,
      everyMs: 0,
    })
    expect(await look.find()).toMatchObject({ found: undefined, isAnswered: false })
    answers[0]?.(7)
    await expect.poll(async () => (await look.find()).found).toBe(7)
    expect((await look.find()).found).toBe(7)
    expect(answers.length).toBeLessThanOrEqual(2)
  })

  it('says that it has failed', async () => {
    const look = new PacedLook(() => Promise.reject(new Error('away')), options)
    expect(await look.find()).toEqual({ found: undefined, ageSeconds: 0, isAnswered: false })
  })
})

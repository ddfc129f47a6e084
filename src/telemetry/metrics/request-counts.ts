import { type ErrorCode, refusalOf } from '../../model/errors.ts'
import { BucketLabels } from './bucket-labels.ts'
import { type Family, family, single } from './catalog.ts'
import { Histogram } from './histogram.ts'

/** What has become of a request. */
export const OUTCOMES = ['success', 'denied', 'invalid', 'error'] as const

export type Outcome = (typeof OUTCOMES)[number]

/** What is said of a request at its end. */
export interface EndedRequest {
  operation?: string
  bucket?: string
  /** Of an upload: what has come, in bytes. */
  size?: number
  /** Of an object, in bytes. */
  sent?: number
}

/** Of one operation on objects, by the names that the log has for it. */
const OBJECT_OPERATIONS = {
  upload: [
    'storage.object.upload',
    'storage.object.upload_update',
    'storage.object.upload_signed',
    'storage.tus.upload.create',
    'storage.tus.upload.create_signed',
    'storage.tus.upload.part',
    'storage.tus.upload.part_signed',
    'storage.s3.upload',
    'storage.s3.upload.create_multipart',
    'storage.s3.upload.part',
    'storage.s3.upload.complete_multipart',
  ],
  download: [
    'storage.object.get_public',
    'storage.object.get_authenticated',
    'storage.object.get_signed',
    'storage.s3.object.get',
  ],
  delete: [
    'storage.object.delete',
    'storage.object.delete_many',
    'storage.tus.upload.delete',
    'storage.tus.upload.delete_signed',
    'storage.s3.object.delete',
    'storage.s3.object.delete_many',
    'storage.s3.upload.abort_multipart',
  ],
  list: [
    'storage.object.list',
    'storage.s3.object.list',
    'storage.s3.object.list_versions',
    'storage.s3.upload.list_parts',
    'storage.s3.upload.list_multipart',
  ],
  copy: ['storage.object.copy', 'storage.s3.object.copy', 'storage.s3.upload.part_copy'],
  move: ['storage.object.move', 'storage.s3.object.rename'],
  sign: ['storage.object.sign', 'storage.object.sign_many', 'storage.object.sign_upload_url'],
  info: [
    'object.get_authenticated_info',
    'storage.object.info_public',
    'storage.s3.object.get_attributes',
    'storage.s3.object.get_tagging',
    'storage.s3.object.put_tagging',
    'storage.s3.object.delete_tagging',
  ],
  head: [
    'object.head_authenticated_info',
    'storage.tus.upload.get',
    'storage.tus.upload.get_signed',
    'storage.s3.object.info',
  ],
}

const BUCKET_OPERATIONS = /^storage\.(?:s3\.)?bucket\.(create|get|head|list|update|empty|delete)$/

const ACL_OPERATIONS = /^storage\.s3\.(?:bucket|object)\.(get|put)_acl$/

/** In seconds: from an answer out of memory to a large object over a slow line. */
const DURATIONS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]

/** By the number of an outcome in `OUTCOMES`. */
type ByOutcome = number[]

const noOutcomes = (): ByOutcome => OUTCOMES.map(() => 0)

interface OperationCounts {
  outcomes: ByOutcome
  durations: Histogram
}

interface BucketCounts {
  uploads: ByOutcome
  downloads: ByOutcome
  uploadedBytes: number
  downloadedBytes: number
}

const noBucketCounts = (): BucketCounts => ({
  uploads: noOutcomes(),
  downloads: noOutcomes(),
  uploadedBytes: 0,
  downloadedBytes: 0,
})

/** No tenants yet (features of later servers). */
const tenant = 'none'

/**
 * The requests that this process has answered. What a request costs here is a look at two or three maps and some additions:
 * series are named when Prometheus asks for them.
 */
export class RequestCounts {
  readonly #backend: string
  readonly #objects = new Map(
    Object.keys(OBJECT_OPERATIONS).map((name) => [name, noOperationCounts()] as const),
  )
  /** By what the log calls them. */
  readonly #byOperation: Map<string, OperationCounts>
  readonly #uploads = this.#objects.get('upload')
  readonly #downloads = this.#objects.get('download')
  readonly #ofBuckets = new Map<string, ByOutcome>()
  readonly #ofAcls = new Map<string, ByOutcome>()
  readonly #surfaces = new Map<string, ByOutcome>()
  readonly #refused = new Map<ErrorCode, number>()
  readonly #buckets = new BucketLabels(noBucketCounts)
  #admitted = 0
  #locked = 0

  /** @param backend where bytes are stored, as the settings name it */
  constructor(backend: string) {
    this.#backend = backend
    this.#byOperation = new Map(
      Object.entries(OBJECT_OPERATIONS).flatMap(([name, operations]) => {
        const counts = this.#objects.get(name) as OperationCounts
        return operations.map((operation) => [operation, counts] as const)
      }),
    )
  }

  /**
   * Counts a request that is over.
   *
   * @param surface the protocol in which it came
   * @param refused by which error, if it was for what the table of errors calls a refusal
   * @param locked how many versions it would have removed, or whose locks it would have taken off, that are locked
   */
  add(
    surface: string,
    request: EndedRequest,
    ended: { outcome: Outcome; seconds: number; refused: ErrorCode | undefined; locked: number },
  ): void {
    const { outcome, seconds, refused } = ended
    this.#locked += ended.locked
    const index = OUTCOMES.indexOf(outcome)
    countIn(this.#surfaces, surface, index)
    if (refused === undefined) this.#admitted++
    else this.#refused.set(refused, (this.#refused.get(refused) ?? 0) + 1)
    const { operation, bucket } = request
    if (operation === undefined) return
    const counts = this.#byOperation.get(operation)
    if (!counts) {
      this.#addOther(operation, index)
      return
    }
    counts.outcomes[index] = (counts.outcomes[index] as number) + 1
    counts.durations.observe(seconds)
    if (bucket === undefined) return
    const isSuccess = index === 0
    if (counts === this.#downloads) {
      const of = this.#buckets.of(bucket, isSuccess)
      of.downloads[index] = (of.downloads[index] as number) + 1
      if (isSuccess && request.sent !== undefined) of.downloadedBytes += request.sent
    } else if (counts === this.#uploads) {
      const of = this.#buckets.of(bucket, isSuccess)
      of.uploads[index] = (of.uploads[index] as number) + 1
      if (isSuccess && request.size !== undefined) of.uploadedBytes += request.size
    }
  }

  families(): Family[] {
    const backend = this.#backend
    const buckets = this.#buckets.entries()
    const objects = [...this.#objects]
    const failed = OUTCOMES.indexOf('error')
    return [
      family(
        'storage_upload_total',
        buckets.flatMap(([bucket, { uploads }]) => withStatus({ bucket }, uploads)),
      ),
      family(
        'storage_download_total',
        buckets.flatMap(([bucket, { downloads }]) => withStatus({ bucket }, downloads)),
      ),
      family(
        'storage_upload_bytes_total',
        buckets.map(([bucket, counts]) => ({
          labels: { bucket, backend, tenant },
          value: counts.uploadedBytes,
        })),
      ),
      family(
        'storage_download_bytes_total',
        buckets.map(([bucket, counts]) => ({
          labels: { bucket, backend, tenant },
          value: counts.downloadedBytes,
        })),
      ),
      family(
        'storage_operations_total',
        objects.flatMap(([operation, { outcomes }]) => withStatus({ operation, backend, tenant }, outcomes)),
      ),
      family(
        'storage_errors_total',
        objects.map(([operation, { outcomes }]) => ({
          labels: { operation, backend, tenant },
          value: outcomes[failed] ?? 0,
        })),
      ),
      family(
        'storage_operation_duration_seconds',
        objects.flatMap(([operation, { durations }]) =>
          durations.samples('storage_operation_duration_seconds', { operation, backend, tenant }),
        ),
      ),
      family(
        'storage_bucket_operations_total',
        [...this.#ofBuckets].flatMap(([operation, outcomes]) => withStatus({ operation }, outcomes)),
      ),
      family(
        'storage_acl_operations_total',
        [...this.#ofAcls].flatMap(([operation, outcomes]) => withStatus({ operation }, outcomes)),
      ),
      family(
        'storage_requests_total',
        [...this.#surfaces].flatMap(([surface, outcomes]) => withStatus({ surface }, outcomes)),
      ),
      single('storage_requests_admitted_total', this.#admitted),
      family(
        'storage_requests_refused_total',
        [...this.#refused].map(([reason, value]) => ({
          labels: { reason, kind: refusalOf(reason) ?? '' },
          value,
        })),
      ),
      family('storage_lock_refusals_total', [{ labels: { by: 'request' }, value: this.#locked }]),
    ]
  }

  /** What is no operation on objects. */
  #addOther(operation: string, index: number): void {
    const [, ofBucket] = BUCKET_OPERATIONS.exec(operation) ?? []
    const [, ofAcl] = ACL_OPERATIONS.exec(operation) ?? []
    if (ofBucket !== undefined) countIn(this.#ofBuckets, ofBucket, index)
    else if (ofAcl !== undefined) countIn(this.#ofAcls, ofAcl, index)
  }
}

function noOperationCounts(): OperationCounts {
  return { outcomes: noOutcomes(), durations: new Histogram(DURATIONS) }
}

function countIn(counts: Map<string, ByOutcome>, name: string, index: number): void {
  let outcomes = counts.get(name)
  if (!outcomes) {
    outcomes = noOutcomes()
    counts.set(name, outcomes)
  }
  outcomes[index] = (outcomes[index] as number) + 1
}

/** A series for each status there has been, and for success, so that a ratio can be told from the start. */
function withStatus<Label extends string>(
  labels: Record<Label, string>,
  outcomes: ByOutcome,
): { labels: Record<Label | 'status', string>; value: number }[] {
  return OUTCOMES.map((status, index) => ({
    labels: { ...labels, status },
    value: outcomes[index] ?? 0,
  })).filter(({ labels: { status }, value }) => value > 0 || status === 'success')
}

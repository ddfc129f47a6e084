import type { Readable } from 'node:stream'
import {
  type $Command,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  S3Client,
  type S3ClientConfig,
  type S3ClientResolvedConfig,
  type ServiceInputTypes,
  type ServiceOutputTypes,
} from '@aws-sdk/client-s3'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import type { S3Settings } from '../../config/s3.ts'
import type { ByteRange } from '../../model/location.ts'
import type { Tracing } from '../../telemetry/tracing/tracing.ts'
import { fromStoreError, refusal, storeCode } from './store-errors.ts'
import { traceRequests } from './traced-requests.ts'

export interface SendOptions {
  /** Whether the store may have to work for long before it answers. */
  longWork?: boolean
  /** Whether the request brings bytes of an object, which may take long on a slow line without being stuck. */
  bringsBytes?: boolean
  /**
   * Whether it brings them as a client sends them, in a stream: it is tried once, and takes as long as the client does. It
   * has a connection of its own; the caller sees to it that there are not more of them than `settings.connections`.
   */
  isPassing?: boolean
  /** Breaks the request off. */
  signal?: AbortSignal
}

export interface DownloadOptions {
  /** Only these bytes. */
  range?: ByteRange | undefined
  /** Only the object that has this ETag. */
  etag?: string | undefined
  /** Whether we read it at once, so that no slow client keeps its connection. */
  isShort?: boolean
}

/** An answer whose bytes are still on their way. */
export interface Download {
  body: Readable
  /** Length of the whole object, in bytes. */
  size: number
  etag: string | undefined
}

/** How long one look at the bucket is believed, in milliseconds. */
const BUCKET_SEEN_MS = 1000

/** The pauses between the attempts of a request take less than this altogether, in milliseconds. */
const PAUSES_MS = 20_000

/** A store that has to work for its answer, as for a copy, or a slow line to it, gets so many times as long. */
const LONG_WORK = 10

/**
 * The connection to one bucket of the store: attempts, timeouts, and its errors in our words.
 *
 * The SDK repeats what may pass by itself, with exponential back-off and full jitter. Large downloads, and uploads that pass
 * as they come, have connections of their own, because each keeps one for as long as its client takes.
 */
export class Store {
  readonly bucket: string
  /** Whether the store's own checksums are sent along. */
  readonly sendsChecksums: boolean
  readonly #client: S3Client
  readonly #uploads: S3Client
  readonly #passing: S3Client
  readonly #downloads: S3Client
  #bucketSeenAt = 0

  constructor(
    readonly settings: S3Settings,
    tracing?: Tracing,
  ) {
    // That later versions of the SDK refuse Node 20 is nothing an operator can act on.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
    this.bucket = settings.bucket
    this.sendsChecksums = settings.requestChecksum === 'when_supported'
    this.#client = new S3Client(clientConfig(settings))
    // Here silence counts, and not how long it takes: bytes that still move are no reason to begin anew.
    const silence = { socketTimeout: settings.timeoutMs }
    this.#uploads = new S3Client(clientConfig(settings, silence))
    this.#passing = new S3Client(clientConfig(settings, silence))
    this.#downloads = new S3Client(clientConfig(settings))
    if (!tracing) return
    for (const client of [this.#client, this.#uploads, this.#passing, this.#downloads]) {
      traceRequests(client, tracing)
    }
  }

  /**
   * Sends a request whose answer is read whole.
   *
   * @throws MissingBytes, StorageFull, BackendUnavailable, BackendRefused; `storeCode` tells the store's own code
   */
  async send<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: $Command<Input, Output, S3ClientResolvedConfig, ServiceInputTypes, ServiceOutputTypes>,
    { longWork = false, bringsBytes = false, isPassing = false, signal }: SendOptions = {},
  ): Promise<Output> {
    const { timeoutMs } = this.settings
    try {
      if (isPassing) {
        return await this.#pass(signal, (abortSignal) =>
          this.#passing.send(command, { abortSignal, requestTimeout: 0 }),
        )
      }
      const requestTimeout = longWork || bringsBytes ? timeoutMs * LONG_WORK : timeoutMs
      const client = bringsBytes ? this.#uploads : this.#client
      return await this.#inTime(requestTimeout, signal, (abortSignal) =>
        client.send(command, { abortSignal, requestTimeout }),
      )
    } catch (error) {
      signal?.throwIfAborted()
      throw await this.#inOurWords(error)
    }
  }

  /**
   * Begins to read an object. The body must be consumed or destroyed.
   *
   * @throws MissingBytes, BackendUnavailable, BackendRefused
   */
  async download(key: string, { range, etag, isShort = false }: DownloadOptions = {}): Promise<Download> {
    const client = isShort ? this.#client : this.#downloads
    const command = new GetObjectCommand({
      Bucket: this.bucket,
      Key: key,
      Range: range && `bytes=${range.start}-${range.end}`,
      IfMatch: etag,
    })
    const answer = await this.#inTime(this.settings.timeoutMs, undefined, (abortSignal) =>
      client.send(command, { abortSignal }),
    ).catch(async (error: unknown) => {
      throw await this.#inOurWords(error)
    })
    const body = answer.Body as Readable // in Node it is always one
    const brought = extent(answer)
    if (brought && brought.start === (range?.start ?? 0))
      return { body, size: brought.size, etag: answer.ETag }
    body.destroy()
    // Whatever is in between, its bytes must not pass for others.
    throw refusal('The store does not answer with the part of an object that it was asked for')
  }

  /**
   * Breaks `work` off when all its attempts together take too long: a request's own timeout ends with the first byte of
   * its answer. Not by `AbortSignal.any`, which in Node 20 forgets a timeout that nobody else holds.
   */
  #inTime<T>(
    requestTimeout: number,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { attempts, connectTimeoutMs } = this.settings
    return breakable(signal, async (breaker) => {
      const breakOff = () => breaker.abort()
      const deadline = setTimeout(breakOff, attempts * (requestTimeout + connectTimeoutMs) + PAUSES_MS)
      try {
        return await work(breaker.signal)
      } finally {
        clearTimeout(deadline)
      }
    })
  }

  #pass<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return breakable(signal, async (breaker) => {
      try {
        return await work(breaker.signal)
      } catch (error) {
        breaker.abort() // nobody else lets go of a request that the store has answered before it has read all
        throw error
      }
    })
  }

  close(): void {
    this.#client.destroy()
    this.#uploads.destroy()
    this.#passing.destroy()
    this.#downloads.destroy()
  }

  async #inOurWords(error: unknown): Promise<unknown> {
    // The answer to a HEAD has no body, and says of a missing bucket what it says of a missing object.
    if (storeCode(error) === 'NotFound') await this.#findBucket()
    return fromStoreError(error, this.settings)
  }

  /** @throws BackendRefused when the store has no such bucket; BackendUnavailable */
  async #findBucket(): Promise<void> {
    if (Date.now() - this.#bucketSeenAt < BUCKET_SEEN_MS) return
    try {
      await this.#inTime(this.settings.timeoutMs, undefined, (abortSignal) =>
        this.#client.send(new HeadBucketCommand({ Bucket: this.bucket }), { abortSignal }),
      )
      this.#bucketSeenAt = Date.now()
    } catch (error) {
      const isGone = storeCode(error) === 'NotFound'
      if (isGone && error instanceof Error) error.name = 'NoSuchBucket'
      throw fromStoreError(error, this.settings)
    }
  }
}

/** Work that may break itself off, or be broken off by a signal. */
async function breakable<T>(
  signal: AbortSignal | undefined,
  work: (breaker: AbortController) => Promise<T>,
): Promise<T> {
  const breaker = new AbortController()
  const breakOff = () => breaker.abort()
  signal?.addEventListener('abort', breakOff)
  if (signal?.aborted) breakOff()
  try {
    return await work(breaker)
  } finally {
    signal?.removeEventListener('abort', breakOff)
  }
}

/**
 * The first byte that an answer brings, and the length of the whole object. Without a Content-Range it brings all of
 * it, whatever was asked for: RFC 9110 §14.4. Undefined when it does not tell.
 */
function extent({ ContentRange, ContentLength }: GetObjectCommandOutput) {
  if (ContentRange === undefined)
    return ContentLength === undefined ? undefined : { start: 0, size: ContentLength }
  const [, start, size] = /^bytes (\d+)-\d+\/(\d+)$/.exec(ContentRange) ?? []
  return size === undefined ? undefined : { start: Number(start), size: Number(size) }
}

/** What every client of the store is made with. */
export function clientConfig(settings: S3Settings, { socketTimeout = 0 } = {}): S3ClientConfig {
  const { endpoint, region, forcePathStyle, credentials, attempts, connections } = settings
  const agent = { keepAlive: true, maxSockets: connections }
  return {
    region,
    forcePathStyle,
    ...(endpoint !== undefined && { endpoint }),
    ...(credentials && {
      credentials: { accessKeyId: credentials.accessKey, secretAccessKey: credentials.secretKey },
    }),
    maxAttempts: attempts,
    retryMode: 'standard',
    requestChecksumCalculation:
      settings.requestChecksum === 'when_supported' ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED',
    // What is read is compared with our own SHA-256 where that is asked for.
    responseChecksumValidation: 'WHEN_REQUIRED',
    // It would open another connection for each part.
    expectContinueHeader: false,
    requestHandler: new NodeHttpHandler({
      httpAgent: agent,
      httpsAgent: agent,
      connectionTimeout: settings.connectTimeoutMs,
      requestTimeout: settings.timeoutMs,
      throwOnRequestTimeout: true,
      // None for others: a download whose client reads slowly is idle without being dead (`resuming-download.ts`), and
      // so is a store that works for its answer.
      socketTimeout,
      logger: silent,
    }),
    logger: silent,
  }
}

/** The SDK's own words would go to the console, past the log. */
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

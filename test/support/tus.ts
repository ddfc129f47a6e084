import type { Readable } from 'node:stream'
import { DetailedError, Upload, type UploadOptions } from 'tus-js-client'
import { expect } from 'vitest'
import { seededBytes, sha256 } from './seeded-bytes.ts'
import type { Served, TestServer } from './server.ts'

/** An upload by tus-js-client. */
export interface ClientUpload {
  upload: Upload
  /** Its requests in order: `POST`, `HEAD`, `PATCH 4096`, where the number is the offset of the chunk. */
  sent: string[]
  /** When it is done. Rejects when tus-js-client gives up; never settles after an abort. */
  done: Promise<void>
}

/** `retryDelays` of a client that tries for longer than any test waits: a server takes a while to start. In milliseconds. */
export const PERSISTENTLY = Array.from({ length: 2000 }, () => 100)

/** Begins an upload by tus-js-client, which does not try again unless `retryDelays` says so. */
export function startUpload(body: Buffer | Readable, options: UploadOptions): ClientUpload {
  const sent: string[] = []
  let upload: Upload | undefined
  const done = new Promise<void>((resolve, reject) => {
    upload = new Upload(body, {
      retryDelays: null,
      ...options,
      onBeforeRequest: async (request) => {
        const offset = request.getHeader('Upload-Offset')
        sent.push(offset === undefined ? request.getMethod() : `${request.getMethod()} ${offset}`)
        await options.onBeforeRequest?.(request)
      },
      onSuccess: () => resolve(),
      onError: reject,
    })
  })
  done.catch(() => {}) // a test may look at it later
  if (!upload) throw new Error('a promise runs its function at once')
  upload.start()
  return { upload, sent, done }
}

/** What the server said when tus-js-client gave up. */
export async function refusal({ done }: ClientUpload): Promise<{ status: number; text: string }> {
  const error: unknown = await done.then(
    () => new Error('The upload was accepted'),
    (reason) => reason,
  )
  if (!(error instanceof DetailedError) || !error.originalResponse) throw error
  return { status: error.originalResponse.getStatus(), text: error.originalResponse.getBody() }
}

/** The offsets of the chunks that were sent. */
export function chunks({ sent }: ClientUpload): number[] {
  return sent.filter((line) => line.includes(' ')).map((line) => Number(line.split(' ')[1]))
}

export interface ObjectPlace {
  bucket: string
  name: string
}

export interface TusServer {
  /** Without a path. */
  url: string
  keys: { serviceKey: string }
}

/** What every upload to `at` needs, as the service or the owner of another token. */
export function tusOptions(
  { url, keys }: TusServer,
  { bucket, name }: ObjectPlace,
  { token = keys.serviceKey, metadata = {}, ...options }: UploadOptions & { token?: string } = {},
): UploadOptions {
  return {
    endpoint: `${url}/storage/v1/upload/resumable`,
    ...options,
    headers: { authorization: `Bearer ${token}`, ...options.headers },
    metadata: { bucketName: bucket, objectName: name, ...metadata },
  }
}

/** That the object is there, whole, and that the server has the right hash of it. */
export async function expectStored(
  server: Pick<Served, 'request'>,
  { bucket, name }: ObjectPlace,
  bytes: Buffer,
): Promise<void> {
  const path = `${bucket}/${name.split('/').map(encodeURIComponent).join('/')}`
  const download = await server.request('GET', `/storage/v1/object/${path}`)
  const etag = download.headers.get('etag')
  const downloaded = sha256(new Uint8Array(await download.arrayBuffer()))
  const info = await server.request('GET', `/storage/v1/object/info/${path}`)
  const sum = sha256(bytes)
  // Exactly as Supabase's it has no checksum.
  const { size, checksum = sum } = (await info.json()) as { size: number; checksum?: string }
  expect({ name, size, checksum, etag, downloaded }).toEqual({
    ...{
      name,
      size: bytes.length,
      checksum: sum,
      etag: `"sha256-${Buffer.from(sum, 'hex').toString('base64url')}"`,
      downloaded: sum,
    },
  })
}

/** How far the server has noted that an upload is, whatever else has arrived. In bytes. */
export async function notedOffset({ admin }: Pick<TestServer, 'admin'>, name: string): Promise<number> {
  const [row] = await admin`
    select upload_offset from storage.resumable_uploads where name = ${name} order by created_at desc limit 1`
  return Number(row?.upload_offset ?? 0)
}

export const MiB = 1024 * 1024

/** Bytes that no other name has. */
export function bytesFor({ bucket, name }: ObjectPlace, length: number): Buffer {
  return seededBytes(`${bucket}/${name}`, length)
}

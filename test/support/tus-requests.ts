import { RawConnection, rawRequest } from './raw-http.ts'
import type { ObjectPlace, TusServer } from './tus.ts'

const CHUNK_TYPE = 'application/offset+octet-stream'

/** Upload-Metadata of these fields. */
export function metadataOf(fields: Record<string, string>): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
    .join(',')
}

export interface TusInit {
  /** The service key, or another token; null sends none. */
  token?: string | null
  /** Undefined leaves out what is sent otherwise. */
  headers?: Record<string, string | undefined>
  body?: string | Uint8Array | ReadableStream
}

export interface TusCreation extends TusInit {
  metadata?: Record<string, string>
}

/** Requests of the TUS protocol as they go over the wire, without a client that knows better. */
export class TusRequests {
  /**
   * @param always what is in all requests, where they do not say something else
   * @param endpoint where uploads begin: a URL, or a path of the server
   */
  constructor(
    private readonly server: TusServer,
    private readonly always: Omit<TusInit, 'body'> = {},
    private readonly endpoint = '/storage/v1/upload/resumable',
  ) {}

  /** @param url or a path of the server */
  send(method: string, url: string, init: TusInit = {}): Promise<Response> {
    return fetch(url.startsWith('http') ? url : `${this.server.url}${url}`, {
      method,
      headers: this.#headers(init),
      ...(init.body !== undefined && { body: init.body as Uint8Array<ArrayBuffer>, duplex: 'half' }),
    })
  }

  /** Begins an upload. @param at a name alone is one in `box` @param length in bytes; null puts it off */
  create(at: ObjectPlace | string, length: number | null, init: TusCreation = {}): Promise<Response> {
    const { bucket, name } = typeof at === 'string' ? { bucket: 'box', name: at } : at
    return this.send('POST', this.endpoint, {
      ...init,
      headers: {
        ...(length === null ? { 'upload-defer-length': '1' } : { 'upload-length': String(length) }),
        'upload-metadata': metadataOf({ bucketName: bucket, objectName: name, ...init.metadata }),
        ...(init.body && { 'content-type': CHUNK_TYPE }),
        ...init.headers,
      },
    })
  }

  /** Begins an upload that must be welcome. Returns its URL. */
  async begin(at: ObjectPlace | string, length: number | null, init: TusCreation = {}): Promise<string> {
    const response = await this.create(at, length, init)
    if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`)
    return response.headers.get('location') ?? ''
  }

  patch(url: string, offset: number, body: string | Uint8Array, init: TusInit = {}): Promise<Response> {
    return this.send('PATCH', url, { ...init, body, headers: { ...chunkAt(offset), ...init.headers } })
  }

  head(url: string, init: TusInit = {}): Promise<Response> {
    return this.send('HEAD', url, init)
  }

  terminate(url: string, init: TusInit = {}): Promise<Response> {
    return this.send('DELETE', url, init)
  }

  /** How far an upload is, which must be there. In bytes. */
  async offset(url: string): Promise<number> {
    const response = await this.head(url)
    if (response.status !== 200) throw new Error(`HEAD ${url}: ${response.status}`)
    return Number(response.headers.get('upload-offset'))
  }

  /** Sends a part of a chunk, and then nothing: as a client whose line was cut without a word. */
  async stall(url: string, offset: number, length: number, part: Buffer): Promise<RawConnection> {
    const connection = await RawConnection.open(url)
    const headers = this.#headers({ headers: { ...chunkAt(offset), 'content-length': String(length) } })
    const lines = headers.map(([name, value]) => `${name}: ${value}`)
    await connection.send(rawRequest('PATCH', new URL(url).pathname, lines), part)
    return connection
  }

  #headers({ token = this.always.token, headers }: TusInit): [name: string, value: string][] {
    const bearer = token === undefined ? this.server.keys.serviceKey : token
    const all = {
      'tus-resumable': '1.0.0',
      authorization: bearer === null ? undefined : `Bearer ${bearer}`,
      ...this.always.headers,
      ...headers,
    }
    return Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined)
  }
}

function chunkAt(offset: number) {
  return { 'content-type': CHUNK_TYPE, 'upload-offset': String(offset) }
}

/** What a test looks at first. */
export async function answerOf(response: Response): Promise<[status: number, text: string]> {
  return [response.status, await response.text()]
}

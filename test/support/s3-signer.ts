import { createHash, createHmac } from 'node:crypto'

/** Signs requests as AWS documents it, by itself: nothing here comes from what it tests. */

export interface S3Keys {
  accessKeyId: string
  secretAccessKey: string
  sessionToken?: string
}

export interface Signing extends S3Keys {
  region?: string
  at?: Date
}

export interface RequestToSign {
  method: string
  /** Absolute, percent-encoded. */
  url: string
  headers?: Record<string, string>
  /** The word of `x-amz-content-sha256`; without it the hash of the body. */
  payload?: string
  body?: string | Buffer
}

export const UNSIGNED = 'UNSIGNED-PAYLOAD'

export function sha256(bytes: string | Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

/** As `20130524T000000Z`. */
export function amzDate(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`
}

export function scopeOf({ region = 'us-east-1', at = new Date() }: Pick<Signing, 'region' | 'at'>): string {
  return `${amzDate(at).slice(0, 8)}/${region}/s3/aws4_request`
}

export function signingKey({ secretAccessKey }: S3Keys, scope: string): Buffer {
  return scope.split('/').reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`) as Buffer // of at least one step
}

/** The headers of a request signed by its header, its own among them. */
export function signRequest(request: RequestToSign, signing: Signing): Record<string, string> {
  const at = signing.at ?? new Date()
  const url = new URL(request.url)
  const payload = request.payload ?? sha256(request.body ?? '')
  const headers: Record<string, string> = {
    host: url.host,
    'x-amz-date': amzDate(at),
    'x-amz-content-sha256': payload,
    ...(signing.sessionToken !== undefined && { 'x-amz-security-token': signing.sessionToken }),
    ...lowerCase(request.headers),
  }
  const scope = scopeOf({ ...signing, at })
  const signedHeaders = Object.keys(headers).sort()
  const signature = sign({ ...request, payload }, headers, { ...signing, at }, scope)
  const { host: _host, ...sent } = headers
  return {
    ...sent,
    authorization: [
      `AWS4-HMAC-SHA256 Credential=${signing.accessKeyId}/${scope}`,
      `SignedHeaders=${signedHeaders.join(';')}`,
      `Signature=${signature}`,
    ].join(', '),
  }
}

/** A URL that has its signature in its query. */
export function presign(
  request: Omit<RequestToSign, 'body'>,
  signing: Signing,
  expiresInSeconds: number,
): string {
  const at = signing.at ?? new Date()
  const scope = scopeOf({ ...signing, at })
  const url = new URL(request.url)
  const headers = { host: url.host, ...lowerCase(request.headers) }
  const parameters = {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${signing.accessKeyId}/${scope}`,
    'X-Amz-Date': amzDate(at),
    'X-Amz-Expires': String(expiresInSeconds),
    ...(signing.sessionToken !== undefined && { 'X-Amz-Security-Token': signing.sessionToken }),
    'X-Amz-SignedHeaders': Object.keys(headers).sort().join(';'),
  }
  const added = Object.entries(parameters).map((pair) => pair.map(encode).join('='))
  const signed = `${request.url}${url.search === '' ? '?' : '&'}${added.join('&')}`
  const payload = request.payload ?? UNSIGNED
  const signature = sign({ ...request, url: signed, payload }, headers, { ...signing, at }, scope)
  return `${signed}&X-Amz-Signature=${signature}`
}

function sign(
  { method, url, payload }: RequestToSign,
  headers: Record<string, string>,
  signing: Signing & { at: Date },
  scope: string,
): string {
  const names = Object.keys(headers).sort()
  const [, path = '/', query = ''] = /^https?:\/\/[^/?]+([^?]*)(?:\?(.*))?$/.exec(url) ?? []
  const canonical = [
    method,
    path || '/',
    query
      .split('&')
      .filter((pair) => pair !== '')
      .map((pair) => (pair.includes('=') ? pair : `${pair}=`))
      .sort(byNameThenValue)
      .join('&'),
    ...names.map((name) => `${name}:${headers[name]?.trim().replace(/ +/g, ' ')}`),
    '',
    names.join(';'),
    payload,
  ].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', amzDate(signing.at), scope, sha256(canonical)].join('\n')
  return hmac(signingKey(signing, scope), toSign).toString('hex')
}

function byNameThenValue(a: string, b: string): number {
  const [x, y] = [a, b].map((pair) => pair.replace('=', '\0'))
  return (x ?? '') < (y ?? '') ? -1 : 1
}

export function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

function lowerCase(headers: Record<string, string> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

export interface ChunkOptions {
  chunkSize: number
  /** Whether each chunk has a signature. */
  isSigned?: boolean
  /** What stands behind the last chunk. */
  trailer?: Record<string, string>
}

/** A request whose body comes in S3's own chunks, with its headers. */
export function chunkedBody(
  request: RequestToSign & { body: string | Buffer },
  signing: Signing,
  { chunkSize, isSigned = true, trailer }: ChunkOptions,
): { headers: Record<string, string>; body: Buffer } {
  const at = signing.at ?? new Date()
  const scope = scopeOf({ ...signing, at })
  const bytes = Buffer.from(request.body)
  const headers = signRequest(
    {
      ...request,
      payload: [
        isSigned ? 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' : 'STREAMING-UNSIGNED-PAYLOAD',
        ...(trailer ? ['TRAILER'] : []),
      ].join('-'),
      headers: {
        'content-encoding': 'aws-chunked',
        'x-amz-decoded-content-length': String(bytes.length),
        ...(trailer && { 'x-amz-trailer': Object.keys(trailer).join(',') }),
        ...request.headers,
      },
    },
    { ...signing, at },
  )
  const key = signingKey(signing, scope)
  let previous = /Signature=(\w+)/.exec(headers.authorization ?? '')?.[1] ?? ''
  const next = (kind: string, what: string) => {
    previous = hmac(
      key,
      [`AWS4-HMAC-SHA256-${kind}`, amzDate(at), scope, previous, what].join('\n'),
    ).toString('hex')
    return previous
  }
  const parts: (string | Buffer)[] = []
  for (let from = 0; from <= bytes.length; from += chunkSize) {
    const piece = bytes.subarray(from, from + chunkSize)
    if (piece.length > 0) parts.push(chunkLine(piece), piece, '\r\n')
  }
  parts.push(chunkLine(Buffer.alloc(0)))
  for (const [name, value] of Object.entries(trailer ?? {})) parts.push(`${name}:${value}\r\n`)
  if (trailer && isSigned) {
    const lines = Object.entries(trailer).map(([name, value]) => `${name}:${value}\n`)
    parts.push(`x-amz-trailer-signature:${next('TRAILER', sha256(lines.join('')))}\r\n`)
  }
  parts.push('\r\n')
  return { headers, body: Buffer.concat(parts.map((part) => Buffer.from(part))) }

  function chunkLine(piece: Buffer): string {
    const size = piece.length.toString(16)
    return isSigned
      ? `${size};chunk-signature=${next('PAYLOAD', `${sha256('')}\n${sha256(piece)}`)}\r\n`
      : `${size}\r\n`
  }
}

import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { encode, type RequestToSign, type S3Keys, type Signing, signRequest } from './s3-signer.ts'
import { type Ground, startTestServer, type TestServer } from './server.ts'

/** A server with the S3 protocol, and those who use it. */
export interface S3TestServer extends TestServer {
  /** Without a slash at its end: of path-style clients. */
  endpoint: string
  /** The same without a path, for clients that know no endpoint with one. */
  rootEndpoint: string
  /** The pair of the service role. */
  keys3: S3Keys
  /** aws-sdk with the service's pair. */
  s3: S3Client
  /** aws-sdk with another pair, or other options; closed with the server. */
  client(keys?: S3Keys, options?: S3ClientConfig): S3Client
  /** What signs in the name of a user: policies judge it. */
  session(subject: string, role?: string): Promise<S3Keys>
  /** A signed request of the test's own making. @param target behind the endpoint, percent-encoded, such as `/bucket/a%20b?acl` */
  send(method: string, target: string, init?: S3RequestInit): Promise<Response>
}

export interface S3RequestInit {
  headers?: Record<string, string>
  body?: string | Buffer
  /** The word of `x-amz-content-sha256`; without it the hash of the body. */
  payload?: string
  signing?: Partial<Signing>
}

/** The pair of the service role, where a server has the settings `WITH_PAIR`. */
export const PAIR: S3Keys = {
  accessKeyId: 'strongroom-test',
  secretAccessKey: 'the-secret-of-the-service-role-in-tests',
}
export const WITH_PAIR = {
  STORAGE_S3_PROTOCOL_ACCESS_KEY_ID: PAIR.accessKeyId,
  STORAGE_S3_PROTOCOL_ACCESS_KEY_SECRET: PAIR.secretAccessKey,
}

/** aws-sdk as a path-style client, that asks once. */
export function s3ClientAt(endpoint: string, options: S3ClientConfig = {}): S3Client {
  return new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: PAIR,
    ...options,
  })
}

/** A real server, with a pair of keys for the service role. */
export async function startS3Server(
  env: Record<string, string> = {},
  ground: Ground = {},
): Promise<S3TestServer> {
  const server = await startTestServer(
    {
      ...WITH_PAIR,
      STORAGE_S3_PROTOCOL_DOMAIN: 'localhost',
      ...env,
    },
    ground,
  )
  const endpoint = `${server.url}/storage/v1/s3`
  const clients: S3Client[] = []
  const client = (credentials: S3Keys = PAIR, options: S3ClientConfig = {}) => {
    const made = s3ClientAt(endpoint, { credentials, ...options })
    clients.push(made)
    return made
  }
  return {
    ...server,
    endpoint,
    rootEndpoint: server.url.replace('127.0.0.1', 'localhost'),
    keys3: PAIR,
    s3: client(),
    client,
    session: async (subject, role) => ({
      accessKeyId: 'strongroom',
      secretAccessKey: server.keys.anonKey,
      sessionToken: await server.token(subject, role),
    }),
    send: (method, target, { headers, body, payload, signing } = {}) => {
      const request: RequestToSign = {
        method,
        url: `${endpoint}${target}`,
        ...(headers && { headers }),
        ...(body !== undefined && { body }),
        ...(payload !== undefined && { payload }),
      }
      return fetch(request.url, {
        method,
        headers: signRequest(request, { ...PAIR, ...signing }),
        ...(body !== undefined && { body }),
      })
    },
    close: async () => {
      for (const made of clients) made.destroy()
      await server.close()
    },
  }
}

/** A key in the path of a URL, as S3 clients write it. */
export function keyPath(key: string): string {
  return key.split('/').map(encode).join('/')
}

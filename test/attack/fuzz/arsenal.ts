import { createHmac, randomUUID } from 'node:crypto'
import { mintToken } from '../../../src/server/keys.ts'
import type { Random } from '../../faults/random.ts'
import { type Signing, signRequest } from '../../support/s3-signer.ts'
import { metadataOf } from '../../support/tus-requests.ts'
import type { Victim } from '../support/victim.ts'
import { chance } from './values.ts'

type Some = readonly [string, ...string[]]

/** What the attackers have: the same for each run, so that a seed makes the same requests. */
export interface Arsenal {
  tokens: { good: Some; bad: Some }
  /** Paths of resumable uploads that have begun. */
  uploads: Some
  /** Paths of signed links, for reading and for writing. */
  links: Some
  /** What signs requests of S3 clients, all of one moment; and the ids of uploads in parts that have begun. */
  s3: { keys: readonly [S3Signing, ...S3Signing[]]; uploads: Some }
}

export type S3Signing = Signing & { at: Date }

export function aToken(random: Random, { tokens }: Arsenal): string {
  return random.pick(chance(random, 92) ? tokens.good : tokens.bad)
}

/** Makes the buckets that attackers know of, and gives them all that a user could have, and more. */
export async function arm(victim: Victim): Promise<Arsenal> {
  const { keys } = victim
  for (const [name, policy] of [
    ['open', 'public'],
    ['shared', 'authenticated'],
    ['closed', 'private'],
  ]) {
    await victim.done('POST', '/bucket', { name, policy })
    await victim.done('POST', `/object/${name}/a.txt`, 'hello')
    await victim.done('POST', `/object/${name}/kept.txt`, 'a text that is kept')
    await victim.done('POST', `/object/${name}/large.bin`, 'x'.repeat(400_000))
  }
  const links = ['open', 'closed'].flatMap((bucket) => [
    `/object/sign/${bucket}/a.txt`,
    `/object/upload/sign/${bucket}/n-1`,
  ])
  const made = await Promise.all(
    links.map(async (path) => {
      const told = (await (await victim.done('POST', path, { expiresIn: 36_000 })).json()) as Record<
        string,
        string
      >
      return told.signedURL ?? told.url ?? ''
    }),
  )
  const user = (role: string, subject: string) => mintToken(keys.jwtSecret, { role, subject }, 36_000)
  const users = await Promise.all([user('authenticated', randomUUID()), user('authenticated', 'auth0|x')])
  const begun = await Promise.all(
    users.map(async (token, index) => {
      const response = await victim.done('POST', '/upload/resumable', undefined, {
        authorization: `Bearer ${token}`,
        'tus-resumable': '1.0.0',
        'upload-length': '1000',
        'upload-metadata': metadataOf({ bucketName: 'shared', objectName: `begun-${index}` }),
      })
      return new URL(response.headers.get('location') ?? '').pathname.replace('/storage/v1', '')
    }),
  )
  const at = new Date()
  const s3Keys: [S3Signing, ...S3Signing[]] = [
    { ...keys.s3, at },
    ...users.map((sessionToken) => ({ accessKeyId: 'x', secretAccessKey: keys.anonKey, sessionToken, at })),
  ]
  const inParts = await Promise.all(s3Keys.map((signing) => beginParts(victim.url, signing)))
  const bad: Some = [
    await user('postgres', 'x'),
    await mintToken(
      'somebody else has signed this, you know',
      { role: 'service_role', subject: 'x' },
      36_000,
    ),
    ...[
      '{"role":"authenticated","sub":"x","exp":1}',
      '{"role":"authenticated","sub":"a\\u0000b"}',
      '{"role":"authenticated","sub":"\\ud800"}',
      `{"role":"authenticated","sub":"x","deep":${'['.repeat(5000)}${']'.repeat(5000)}}`,
      '{"role":["authenticated"],"sub":{"a":1},"exp":"soon"}',
      '"text"',
    ].map((claims) => signed(keys.jwtSecret, claims)),
    `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"role":"service_role"}').toString('base64url')}.`,
    'a.b.c',
    'x',
  ]
  // The service's is rare: with it nothing is refused for long.
  const good: Some = [keys.anonKey, keys.anonKey, ...users, ...users, keys.serviceKey]
  const [upload = '', ...uploads] = begun
  const [link = '', ...otherLinks] = made
  const [inPart = '', ...othersInParts] = inParts
  return {
    tokens: { good, bad },
    uploads: [upload, ...uploads],
    links: [link, ...otherLinks],
    s3: { keys: s3Keys, uploads: [inPart, ...othersInParts] },
  }
}

/** Begins an upload in parts by S3. @returns its id */
async function beginParts(url: string, signing: S3Signing): Promise<string> {
  const request = { method: 'POST', url: `${url}/storage/v1/s3/shared/in-parts?uploads` }
  const response = await fetch(request.url, { method: 'POST', headers: signRequest(request, signing) })
  const [, id] = /<UploadId>(.*)<\/UploadId>/.exec(await response.text()) ?? []
  if (id === undefined) throw new Error(`an upload in parts was not begun: ${response.status}`)
  return id
}

/** A token as whoever has the secret could make it, with whatever claims (RFC 7515). */
function signed(secret: string, claims: string): string {
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  const content = `${encode('{"alg":"HS256","typ":"JWT"}')}.${encode(claims)}`
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
}

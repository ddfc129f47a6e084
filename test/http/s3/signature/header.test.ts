import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, rawRequest } from '../../../support/raw-http.ts'
import { told } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'
import {
  amzDate,
  hmac,
  scopeOf,
  sha256,
  signingKey,
  signRequest,
  UNSIGNED,
} from '../../../support/s3-signer.ts'

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server({
    STORAGE_S3_PROTOCOL_REGION: 'eu-central-1',
    STORAGE_PUBLISHABLE_KEYS: 'sb_publishable_of_another_project',
  })
})
afterAll(() => server.close())

async function said(
  response: Response,
): Promise<[status: number, code: string | undefined, message: string | undefined]> {
  const { status, code, message } = await told(response)
  return [status, code, message]
}

/** What is told of a request whose header has been changed after it was signed. */
async function withHeaders(change: (headers: Record<string, string>) => Record<string, string>) {
  const url = `${server.endpoint}/`
  const headers = signRequest({ method: 'GET', url }, { ...server.keys3, region: 'eu-central-1' })
  return said(await fetch(url, { headers: { ...headers, ...change(headers) } }))
}

describe('a signature in the header', () => {
  it.each(['eu-central-1', 'us-east-1', 'auto', ''])('may be for the region %j', async (region) => {
    expect((await server.send('GET', '/', { signing: { region } })).status).toBe(200)
  })

  it('is not for another region, which the answer names', async () => {
    const answer = await said(await server.send('GET', '/', { signing: { region: 'mars-1' } }))
    expect(answer).toEqual([400, 'AuthorizationHeaderMalformed', expect.stringContaining('eu-central-1')])
  })

  it.each<[what: string, signing: object, code: string]>([
    ['another secret', { secretAccessKey: 'another secret' }, 'SignatureDoesNotMatch'],
    ['an access key that nobody has', { accessKeyId: 'nobody' }, 'InvalidAccessKeyId'],
    [
      'the anon key without a token',
      { secretAccessKey: 'anon', accessKeyId: 'nobody' },
      'InvalidAccessKeyId',
    ],
  ])('with %s is refused', async (_what, signing, code) => {
    expect((await said(await server.send('GET', '/', { signing }))).slice(0, 2)).toEqual([403, code])
  })

  it.each(['constructor', '__proto__', 'toString'])(
    'over a header %s is one like any other',
    async (name) => {
      const answer = await withHeaders(({ authorization = '' }) => ({
        authorization: authorization.replace('SignedHeaders=', `SignedHeaders=${name};`),
      }))
      expect(answer.slice(0, 2)).toEqual([403, 'SignatureDoesNotMatch'])
    },
  )

  it('is of now: what is older or newer than 15 minutes is refused, and both times are named', async () => {
    for (const minutes of [-16, 16]) {
      const at = new Date(Date.now() + minutes * 60_000)
      const [status, code, message] = await said(await server.send('GET', '/', { signing: { at } }))
      expect([status, code]).toEqual([403, 'RequestTimeTooSkewed'])
      expect(message).toContain(`${at.toISOString().slice(0, 19)}.000Z`)
      expect(message?.match(/\d{4}-\d\d-\d\dT[\d:.]+Z/g)).toHaveLength(2)
    }
    for (const minutes of [-14, 14]) {
      const at = new Date(Date.now() + minutes * 60_000)
      expect((await server.send('GET', '/', { signing: { at } })).status).toBe(200)
    }
  })

  it('knows the words of S3 for the body, and no others', async () => {
    const answer = await said(await server.send('GET', '/', { payload: 'STREAMING-SOMETHING' }))
    expect(answer.slice(0, 2)).toEqual([400, 'InvalidRequest'])
  })

  it('may have its time in Date, as HTTP writes it', async () => {
    const at = new Date()
    const scope = scopeOf({ at })
    const headers = {
      date: at.toUTCString(),
      host: new URL(server.url).host,
      'x-amz-content-sha256': UNSIGNED,
    }
    const names = Object.keys(headers).join(';')
    const lines = Object.entries(headers).map((header) => header.join(':'))
    const canonical = ['GET', '/s3', '', ...lines, '', names, UNSIGNED].join('\n')
    const toSign = ['AWS4-HMAC-SHA256', amzDate(at), scope, sha256(canonical)].join('\n')
    const signature = hmac(signingKey(server.keys3, scope), toSign).toString('hex')
    const authorization = `AWS4-HMAC-SHA256 Credential=${server.keys3.accessKeyId}/${scope},SignedHeaders=${names},Signature=${signature}`
    const sent = Object.entries({ ...headers, authorization }).map((header) => header.join(': '))
    expect((await exchange(server.url, rawRequest('GET', '/s3', sent))).status).toBe(200)
    const without = sent.filter((line) => !line.startsWith('date'))
    expect((await exchange(server.url, rawRequest('GET', '/s3', without))).status).toBe(403)
  })

  it('is needed', async () => {
    expect((await said(await fetch(server.endpoint))).slice(0, 2)).toEqual([403, 'AccessDenied'])
    const headers = { authorization: `Bearer ${server.keys.serviceKey}` }
    expect((await said(await fetch(server.endpoint, { headers }))).slice(0, 2)).toEqual([403, 'AccessDenied'])
  })

  it.each<
    [what: string, change: (headers: Record<string, string>) => Record<string, string>, answer: unknown[]]
  >([
    ['time', () => ({ 'x-amz-date': amzDate(new Date(Date.now() - 2000)) }), [403, 'SignatureDoesNotMatch']],
    ['hash', () => ({ 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }), [403, 'SignatureDoesNotMatch']],
    ['header that was not signed', () => ({ 'x-amz-acl': 'public-read' }), [403, 'AccessDenied']],
    ['spelling of the time', () => ({ 'x-amz-date': 'yesterday' }), [403, 'AccessDenied']],
  ])('does not hold for another %s', async (_what, change, answer) => {
    expect((await withHeaders(change)).slice(0, 2)).toEqual(answer)
  })
})

describe('a session', () => {
  it('is that of a token that holds', async () => {
    const keys = await server.session('7d3e1f6e-0000-4000-8000-000000000001')
    expect((await server.send('GET', '/', { signing: keys })).status).toBe(200)
    const forged = { ...keys, sessionToken: `${keys.sessionToken}x` }
    expect((await said(await server.send('GET', '/', { signing: forged }))).slice(0, 2)).toEqual([
      400,
      'InvalidToken',
    ])
  })

  it('is signed with the anon key, or with one of another origin that the settings name', async () => {
    const named = {
      ...(await server.session('somebody')),
      secretAccessKey: 'sb_publishable_of_another_project',
    }
    expect((await server.send('GET', '/', { signing: named })).status).toBe(200)
    const keys = { ...(await server.session('somebody')), secretAccessKey: server.keys.serviceKey }
    expect((await said(await server.send('GET', '/', { signing: keys })))[1]).toBe('SignatureDoesNotMatch')
  })
})

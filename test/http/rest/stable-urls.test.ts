import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, type Signed, sign, tokenOf } from '../../support/signed.ts'

/** Signed URLs that are the same text for a while (docs/links.md). */

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('docs')
  await put(server, 'docs/a.txt', 'text')
  await server.admin.unsafe('create policy sees on storage.objects for select to authenticated using (true)')
})
afterAll(() => server.close())
afterEach(() => void vi.useRealTimers())

const stable = async (expiresIn: number, subject = 'anna', options = {}) =>
  sign(server, 'docs/a.txt', expiresIn, { stable: true, token: await server.token(subject), ...options })

describe('a stable URL', () => {
  it('is one text for everybody, for half of its time, and works for half of it at least', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const hour = Date.UTC(2026, 10, 30, 12)
    const texts = new Set<string>()
    for (const [minutes, subject] of [
      [0, 'anna'],
      [1, 'bert'],
      [29.9, 'carl'],
    ] as const) {
      vi.setSystemTime(hour + minutes * 60_000)
      const signed = await stable(3600, subject)
      const left = (Date.parse(signed.expires_at) - Date.now()) / 1000
      expect(left).toBeGreaterThan(1800)
      expect(left).toBeLessThanOrEqual(3600)
      expect((await open(server, signed.signedURL)).status).toBe(200)
      texts.add(tokenOf(signed))
    }
    expect(texts.size).toBe(1)
    vi.setSystemTime(hour + 30 * 60_000)
    texts.add(tokenOf(await stable(3600)))
    texts.add(tokenOf(await stable(7200)))
    texts.add(tokenOf(await stable(3600, 'anna', { disposition: 'attachment' })))
    expect(texts.size).toBe(4)
  })

  it('is followed by another that is the same for everybody once it was taken back', async () => {
    const revoke = (body: object) => server.request('POST', '/object/sign/revoke', { body })
    const texts: string[] = []
    for (const body of [
      ({ signedURL }: Signed) => ({ token: signedURL.replace(/.*token=/, '') }),
      () => ({ bucket: 'docs', path: 'a.txt' }),
    ]) {
      const signed = await stable(86_400)
      expect((await open(server, signed.signedURL)).status).toBe(200)
      expect((await revoke(body(signed))).status).toBe(200)
      expect((await open(server, signed.signedURL)).status).toBe(410)
      const [next, same] = [await stable(86_400, 'bert'), await stable(86_400, 'carl')]
      expect(tokenOf(next)).toBe(tokenOf(same))
      expect((await open(server, next.signedURL)).status).toBe(200)
      texts.push(tokenOf(signed), tokenOf(next))
    }
    expect(new Set(texts).size).toBe(3) // the second was made anew by the first revocation
  })

  it('is made for many, and not for a second', async () => {
    const many = () =>
      server.request('POST', '/object/sign/docs', {
        body: { expiresIn: 86_400, paths: ['a.txt'], stable: true },
      })
    const [[one], [same]] = (await Promise.all(
      [many(), many()].map(async (sent) => (await sent).json()),
    )) as [[Signed], [Signed]]
    expect(tokenOf(one)).toBe(tokenOf(same))
    const short = await server.request('POST', '/object/sign/docs/a.txt', {
      body: { expiresIn: 1, stable: true },
    })
    expect(short.status).toBe(400)
  })
})

describe('what is told of an object', () => {
  it('has a URL for who asks for it, and may sign it', async () => {
    const info = async (query: string, token: string | null, route = 'info') => {
      const answer = await server.request('GET', `/object/${route}/docs/a.txt${query}`, { token })
      return {
        status: answer.status,
        ...((await answer.json()) as {
          download_url?: string | null
          download_url_expires_at?: string | null
        }),
      }
    }
    const token = await server.token('anna')
    const told = await info('?download_url=3600', token)
    const end = Date.parse(String(told.download_url_expires_at))
    expect(end - Date.now()).toBeGreaterThan(3_500_000)
    expect((await open(server, String(told.download_url))).text).toBe('text')
    expect(await info('', token)).not.toHaveProperty('download_url')
    const [one, same] = [
      await info('?download_url=86400&stable=true', token),
      await info('?download_url=86400&stable=true', await server.token('bert')),
    ]
    expect([one.status, one.download_url]).toEqual([200, same.download_url])

    for (const query of [
      '?download_url=',
      '?download_url=0',
      '?download_url=x',
      '?download_url=60&stable=maybe',
    ]) {
      expect(await info(query, token)).toMatchObject({ status: 400 })
    }
    expect(await info('?download_url=999999999999', token)).toMatchObject({ status: 400 })
    await server.request('PUT', '/bucket/docs', { body: { public: true } })
    await server.admin.unsafe(
      'create policy hides on storage.objects as restrictive for select to anon using (false)',
    )
    // Whom no policy shows it, only its bucket, could not sign it either.
    expect(await info('?download_url=60', null, 'info/public')).toMatchObject({
      status: 200,
      download_url: null,
    })
  })
})

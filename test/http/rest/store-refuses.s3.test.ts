import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cleanUp } from '../../support/cleanup.ts'
import { describeWithS3, s3Env } from '../../support/s3.ts'
import { IN_FILES, type Served, startTestServer, type TestServer } from '../../support/server.ts'

describeWithS3('a server whose store', (s3) => {
  let right: TestServer
  beforeAll(async () => {
    right = await startTestServer({ ...IN_FILES, ...(await s3Env(s3)) })
    await right.createBucket('docs')
    const large = { body: 'x'.repeat(300_000) }
    expect((await right.request('POST', '/object/docs/small.txt', { body: 'hello' })).status).toBe(201)
    expect((await right.request('POST', '/object/docs/large.txt', large)).status).toBe(201)
  })
  afterAll(() => right?.close())

  const REFUSALS: [what: string, env: Record<string, string>, setting: string][] = [
    ['does not accept its secret', { STORAGE_S3_SECRET_KEY: 'wrong' }, 'STORAGE_S3_SECRET_KEY'],
    ['does not know its access key', { STORAGE_S3_ACCESS_KEY: 'wrong' }, 'STORAGE_S3_ACCESS_KEY'],
    ['has no such bucket', { STORAGE_S3_BUCKET: 'there-is-none' }, 'STORAGE_S3_BUCKET'],
  ]

  it.each(REFUSALS)(
    '%s answers 500 to clients, and tells the operator which setting is wrong',
    async (_, env, setting) => {
      const wrong = await right.beside(env)
      try {
        const attempts: [method: string, path: string, body?: string | object][] = [
          ['POST', '/object/docs/new.txt', 'hello'],
          ['POST', '/object/docs/new.txt', 'x'.repeat(300_000)],
          ['POST', '/object/copy', { bucketId: 'docs', sourceKey: 'small.txt', destinationKey: 'copy.txt' }],
          ['GET', '/object/docs/small.txt'],
          ['GET', '/object/docs/large.txt'],
        ]
        for (const [method, path, body] of attempts) {
          wrong.logs.length = 0
          const response = await wrong.request(method, path, body === undefined ? {} : { body })
          const text = await response.text()
          expect([method, path, response.status, JSON.parse(text).code]).toEqual([
            method,
            path,
            500,
            'InternalError',
          ])
          expect(text).not.toMatch(/STORAGE_S3|docs-|127\.0\.0\.1/)
          expect(reasons(wrong)).toContain(setting)
          expect(JSON.stringify(wrong.logs)).not.toContain(s3.secretKey)
        }
        const health = await wrong.request('GET', '/health')
        expect([health.status, await health.json()]).toMatchObject([
          503,
          { backend: 'failing', database: 'ok' },
        ])
      } finally {
        await wrong.close()
      }
      const [row] = await right.admin`select count(*)::int as rows from storage.objects`
      expect(row?.rows).toBe(2)
    },
  )

  it.each(REFUSALS)('%s takes no object for lost', async (_, env) => {
    const wrong = await right.beside(env)
    try {
      const pass = cleanUp({ ...right, config: wrong.config })
      await expect(pass).rejects.toMatchObject({ code: 'BackendRefused' })
    } finally {
      await wrong.close()
    }
    const [row] = await right.admin`
      select count(*)::int as marked from storage.objects where quarantine_reason is not null`
    expect(row?.marked).toBe(0)
    expect(await (await right.request('GET', '/object/docs/small.txt')).text()).toBe('hello')
  })

  it('is a web server that says yes to everything acknowledges no upload', async () => {
    const yes = createServer((request, response) => request.resume().on('end', () => response.end()))
    await once(yes.listen(0, '127.0.0.1'), 'listening')
    const { port } = yes.address() as AddressInfo // it listens on TCP
    const wrong = await right.beside({ STORAGE_S3_ENDPOINT: `http://127.0.0.1:${port}` })
    try {
      for (const body of ['hello', 'x'.repeat(300_000)]) {
        const response = await wrong.request('POST', '/object/docs/new.txt', { body })
        expect([response.status, reasons(wrong)]).toEqual([
          500,
          expect.stringContaining('STORAGE_S3_ENDPOINT'),
        ])
        await response.arrayBuffer()
      }
    } finally {
      await wrong.close()
      yes.close()
      yes.closeAllConnections()
    }
  })

  it('is elsewhere answers 503, and says when to come back', async () => {
    const hasty = { STORAGE_S3_ATTEMPTS: '2', STORAGE_S3_CONNECT_TIMEOUT: '1s' }
    const wrong = await right.beside({ STORAGE_S3_ENDPOINT: 'http://127.0.0.1:9', ...hasty })
    try {
      for (const path of ['/object/docs/small.txt', '/object/docs/large.txt']) {
        const response = await wrong.request('GET', path)
        expect([response.status, response.headers.get('retry-after')]).toEqual([503, '2'])
        await response.arrayBuffer()
      }
      expect(reasons(wrong)).toContain('STORAGE_S3_ENDPOINT')
    } finally {
      await wrong.close()
    }
  })
})

/** What the log says that was wrong. */
function reasons({ logs }: Served): string {
  return logs.map(({ err }) => (err as { message?: string } | undefined)?.message ?? '').join('\n')
}

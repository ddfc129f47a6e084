import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { describeWith } from '../support/installed.ts'
import { type Nginx, startNginx } from '../support/nginx.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNothingWritten } from '../support/traces.ts'

/* What is sent back in headers is kept by proxies in one buffer. What does not fit there is 502, and counts as a failure. */

const LONG = 'x'.repeat(3000)

const MODES: [mode: string, env: Record<string, string>][] = [
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
]

describeWith('nginx', 'behind nginx with its defaults', () => {
  describe.each(MODES)('%s', (_mode, env) => {
    let server: TestServer
    let nginx: Nginx
    beforeAll(async () => {
      server = await startTestServer(env)
      nginx = await startNginx(server.url, { buffering: 'on' })
      await server.createBucket('open', { public: true })
      expect((await server.request('PUT', '/object/open/a.txt', { body: 'hello' })).ok).toBe(true)
    })
    afterAll(async () => {
      await nginx.close()
      await server.close()
    })

    const form = (field: string) => {
      const body = new FormData()
      body.append(field, LONG)
      body.append('', new Blob(['hello']), 'a.txt')
      return { body }
    }
    const metadata = (values: Record<string, string>) =>
      Object.entries(values)
        .map(([key, value]) => `${key} ${Buffer.from(value).toString('base64')}`)
        .join(',')
    const resumable = { bucketName: 'open', objectName: 'b.txt', cacheControl: LONG }
    const copy = { bucketId: 'open', sourceKey: 'a.txt', destinationKey: 'b.txt', copyMetadata: false }

    it.each<[what: string, path: string, init: RequestInit]>([
      ['Cache-Control', '/object/open/b.txt', { body: 'hello', headers: { 'cache-control': LONG } }],
      ['Content-Encoding', '/object/open/b.txt', { body: 'hello', headers: { 'content-encoding': LONG } }],
      ['cacheControl in a form', '/object/open/b.txt', form('cacheControl')],
      ['contentEncoding in a form', '/object/open/b.txt', form('contentEncoding')],
      [
        'cacheControl of a resumable upload',
        '/upload/resumable',
        {
          headers: {
            'tus-resumable': '1.0.0',
            'upload-length': '5',
            'upload-metadata': metadata(resumable),
          },
        },
      ],
      [
        'cacheControl of a copy',
        '/object/copy',
        {
          body: JSON.stringify({ ...copy, metadata: { cacheControl: LONG } }),
          headers: { 'content-type': 'application/json' },
        },
      ],
    ])('an endless %s is refused, and nothing is stored', async (_what, path, init) => {
      const headers = { ...init.headers, authorization: `Bearer ${server.keys.serviceKey}` }
      const response = await expectNothingWritten(server, () =>
        fetch(`${nginx.url}${path}`, { ...init, method: 'POST', headers }),
      )
      expect([response.status, await response.text()]).toEqual([
        400,
        expect.stringContaining('may have at most 1000 characters'),
      ])
    })

    it('the longest name to save under arrives', async () => {
      const name = '界'.repeat(300)
      const path = `/object/public/open/a.txt?download=${encodeURIComponent(name)}`
      const response = await fetch(`${nginx.url}${path}`)
      expect([response.status, await response.text()]).toEqual([200, 'hello'])
      const [, sent = ''] = /filename=([^;]+)/.exec(response.headers.get('content-disposition') ?? '') ?? []
      expect(decodeURIComponent(sent)).toMatch(/^界{150,}$/)
    })

    it('a preflight that asks for more than any page does is answered', async () => {
      const asked = Array.from({ length: 600 }, (_, index) => `x-header-${index}`).join()
      const response = await fetch(`${nginx.url}/object/public/open/a.txt`, {
        method: 'OPTIONS',
        headers: { 'access-control-request-method': 'PUT', 'access-control-request-headers': asked },
      })
      expect(response.status).toBe(204)
      expect(response.headers.get('access-control-allow-headers')).toContain('x-upsert')
      expect(await nginx.errors()).toBe('')
    })
  })
})

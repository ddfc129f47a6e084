import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BOUNDARY, file, form, MULTIPART } from '../support/multipart.ts'
import { exchange, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift, traces } from '../support/traces.ts'
import { besideInnocent } from './support/innocent.ts'

describe.each([{}, { STORAGE_COMPAT: 'supabase' }])(
  'requests that two readers would read in two ways (%o)',
  (env) => {
    let server: TestServer
    let auth: string
    beforeAll(async () => {
      server = await startTestServer(env)
      auth = `Authorization: Bearer ${server.keys.serviceKey}`
      await server.createBucket('box')
    })
    afterAll(async () => {
      await expectNoDrift(server)
      await server.close()
    })

    const ofBox = async () => JSON.stringify((await traces(server)).objects).includes('"never')
    const chunks = '5\r\nhello\r\n0\r\n\r\n'
    const cut = form(file(`before\r\n--${BOUNDARY}, and behind`))
    const cutAtEnd = form(file(`before\r\n--${BOUNDARY}--\r\nand behind`))

    const AMBIGUOUS: [what: string, status: number, headers: string[], body: string | Buffer][] = [
      ['two hosts', 400, ['Host: a', 'Host: b'], 'hello'],
      ['a coding that only another reader knows', 501, ['Transfer-Encoding: gzip, chunked'], chunks],
      ['a length and chunks', 400, ['Content-Length: 5', 'Transfer-Encoding: chunked'], chunks],
      ['a form with a line like its boundary', 400, [MULTIPART], cut],
      ['a form with a line like its end', 400, [MULTIPART], cutAtEnd],
    ]

    it('are refused each time, and nothing is stored', async () => {
      await besideInnocent(server, async () => {
        for (let round = 0; round < 50; round++) {
          for (const [what, status, headers, body] of AMBIGUOUS) {
            const request = rawRequest('POST', `/object/box/never-${round}`, [auth, ...headers], body)
            expect((await exchange(server.url, request)).status, what).toBe(status)
          }
        }
      })
      expect(await ofBox()).toBe(false)
    })

    it('writes that come together take their turn', async () => {
      await besideInnocent(server, async () => {
        for (let round = 0; round < 20; round++) {
          const connection = await RawConnection.open(server.url)
          const put = (body: string) => rawRequest('PUT', '/object/box/turns', [auth], body)
          await connection.send(
            ...['1', '2', '3', '4'].map(put),
            rawRequest('GET', '/object/box/turns', [auth]),
          )
          const answers = []
          for (let count = 0; count < 5; count++) answers.push(await connection.response())
          expect(answers[4]?.body.toString()).toBe('4')
          connection.abort()
        }
      })
    })
  },
)

import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'

/* Before a form's file is there, nobody has been asked whether it may come, so that anybody with a key gets so far. */

const DECLARED = 1_000_000_000
/** Far more than a form may have before its file, and what the buffers between take. */
const ENOUGH = 60_000_000

const head = (lines: string[]) => `\r\n--b\r\n${lines.join('\r\n')}\r\n\r\nx`
const NAMED = 'Content-Disposition: form-data; name="a"'

describe.each([
  ['by default', {}],
  ['under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('%s a form that never gets to its file', (_mode, env: Record<string, string>) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer(env)
    await server.createBucket('box')
  })
  afterAll(() => server.close())

  /** What is answered, while a body begins so and goes on so until there is an answer. */
  async function answerTo(begin: string, goOn: string, target = '/object/box/a.txt'): Promise<string> {
    const { port, hostname } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    try {
      let answer = ''
      socket.on('data', (bytes) => {
        answer += String(bytes)
      })
      socket.on('error', () => {}) // it is told by what is heard
      const lines = [
        `POST ${target} HTTP/1.1`,
        'Host: localhost',
        `Authorization: Bearer ${server.keys.anonKey}`,
        'Content-Type: multipart/form-data; boundary=b',
        `Content-Length: ${DECLARED}`,
      ]
      socket.write(`${lines.join('\r\n')}\r\n\r\n${begin}`)
      const piece = Buffer.from(goOn.repeat(Math.ceil(500_000 / goOn.length)))
      for (let sent = 0; answer === '' && sent < ENOUGH; sent += piece.length) {
        if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), once(socket, 'data')])
      }
      return answer
    } finally {
      socket.destroy()
    }
  }

  it.each<[what: string, begin: string, goOn: string, says: string]>([
    ['text that means nothing', '', 'nothing\r\n', 'The form has too much before its file'],
    ['one field', head([NAMED]), 'x', 'The form has too much before its file'],
    [
      'parts that the parser passes over',
      '',
      head([`Content-Disposition: form-data; name*=utf-8''a%0Ab`, `Content-Type: ${'a'.repeat(15_000)}`]),
      'has too many parts',
    ],
    [
      'parts that are two things at once',
      '',
      head(['Content-Disposition: attachment', NAMED]),
      'has a part that is none of a form',
    ],
  ])('for %s is refused', async (_what, begin, goOn, says) => {
    expect(await answerTo(begin, goOn)).toContain(says)
  })

  it.each([
    ['text that means nothing', '', 'nothing\r\n'],
    ['one field', head([NAMED]), 'x'],
  ])('for %s is refused by S3, too, where not even a key is needed', async (_what, begin, goOn) => {
    expect(await answerTo(begin, goOn, '/s3/box')).toContain('The form has too much before its file')
  })
})

import { describe, expect, it } from 'vitest'
import { forTerminal } from '../../src/server/terminal-log.ts'

const time = new Date(2026, 0, 2, 22, 1, 3).toISOString()
const shown = (fields: object) =>
  forTerminal(JSON.stringify({ level: 'info', time, service: 'file_storage', ...fields }))
const request = (fields: object) =>
  shown({ msg: 'request', status: 200, method: 'GET', duration_ms: 0.4, ...fields })

describe('a line of the log on a terminal', () => {
  it('is, of a request, what was done to what by whom', () => {
    const upload = { status: 201, method: 'PUT', bucket: 'photos', path: 'cats/tom.txt', size: 13 }
    expect(
      request({ ...upload, role: 'service_role', duration_ms: 127.3, requestId: 'r', operation: 'o' }),
    ).toBe('22:01:03 201 PUT photos/cats/tom.txt 13 B service_role 127 ms\n')
  })

  it('has the path where there is no bucket, and leaves out what there is not', () => {
    expect(request({ url: '/health' })).toBe('22:01:03 200 GET /health 0.4 ms\n')
    expect(request({ bucket: 'photos', role: 'anon', aborted: true })).toBe(
      '22:01:03 200 GET photos anon 0.4 ms aborted\n',
    )
  })

  it.each([
    [999, '999 B'],
    [1000, '1.0 kB'],
    [9949, '9.9 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [30_000_000, '30 MB'],
    [5_000_000_000_000, '5000 GB'],
  ])('has %i bytes as %s', (size, text) => {
    expect(request({ url: '/', size })).toBe(`22:01:03 200 GET / ${text} 0.4 ms\n`)
  })

  it('is the sentence and what belongs to it, and a word for what is wrong', () => {
    expect(shown({ msg: 'stopped' })).toBe('22:01:03 stopped\n')
    expect(shown({ msg: 'it waits', level: 'warn', by: [1, 2], of: 'x' })).toBe(
      '22:01:03 warning: it waits (by [1,2], of x)\n',
    )
    expect(shown({ msg: 'it is in /srv/x', folder: '/srv/x', by: 1 })).toBe(
      '22:01:03 it is in /srv/x (by 1)\n',
    )
    expect(shown({ msg: 'lost', level: 'error', err: { message: 'no', stack: 'Error: no\n    at x' } })).toBe(
      '22:01:03 error: lost\n  Error: no\n      at x\n',
    )
  })

  it('cannot be made to look like another, or move the cursor', () => {
    const name = '\u001b[2J\r22:01:03 200 GET else\nwhere'
    for (const line of [
      request({ bucket: 'b', path: name }),
      request({ url: name, role: name }),
      shown({ msg: name, about: name }),
      shown({ msg: 'x', err: { message: name } }),
    ]) {
      expect(line.trimEnd()).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/)
      expect(line.split('\n').filter((text) => text.startsWith('22:'))).toHaveLength(1)
    }
  })
})

import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { until } from '../support/wait.ts'

let cwd: string
let server: Command
let serviceKey: string

beforeAll(async () => {
  cwd = await newFolder()
  server = new Command(['serve'], { cwd, env: { STORAGE_PORT: '0' } })
  await server.url()
  ;({ serviceKey } = JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8')))
})
afterAll(() => removeFolder(cwd, [server]))

const entries = (stdout: string) =>
  stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Record<string, unknown>]))

async function exported(...args: string[]) {
  const { code, stdout, stderr } = await strongroom(['audit', 'export', ...args], { cwd })
  expect([code, stderr]).toEqual([0, ''])
  return entries(stdout)
}

it('is exported beside a running server, page after page, and after it has stopped with all that it was told', async () => {
  const headers = { authorization: `Bearer ${serviceKey}`, 'content-type': 'application/json' }
  const url = `${await server.url()}/storage/v1`
  for (const name of ['docs', 'other']) {
    await fetch(`${url}/bucket`, { method: 'POST', headers, body: JSON.stringify({ name }) })
  }
  // More than are read at once: one request that names many.
  const names = Array.from({ length: 1300 }, (_, n) => `n-${n}`)
  const sql = `insert into storage.objects (bucket_id, name) select 'docs', 'n-' || n from generate_series(0, 1299) n`
  expect((await strongroom(['sql', '-c', sql], { cwd })).code).toBe(0)
  const body = JSON.stringify({ prefixes: names })
  expect((await fetch(`${url}/object/docs`, { method: 'DELETE', headers, body })).status).toBe(200)
  await until(async () => (await exported('--action', 'delete')).length === names.length, 'all are written')
  const deleted = await exported('--bucket', 'docs', '--action', 'delete')
  expect(new Set(deleted.map(({ path }) => path)).size).toBe(names.length)
  expect(deleted[0]).toMatchObject({ action: 'delete', role: 'service_role', file_id: expect.any(String) })

  // What was acknowledged a moment before the end.
  for (let n = 0; n < 20; n++) {
    const answer = await fetch(`${url}/object/other/last-${n}`, { method: 'POST', headers, body: 'x' })
    expect(answer.status).toBe(201)
  }
  server.signal('SIGTERM')
  expect((await server.ended).code).toBe(0)
  const last = await exported('--bucket', 'other', '--action', 'upload')
  expect(last.map(({ path }) => path)).toEqual(Array.from({ length: 20 }, (_, n) => `last-${n}`))

  const out = join(cwd, 'audit.ndjson')
  expect(await exported('--from', '2020-01-01', '--to', '2100-01-01T00:00:00Z', '--out', out)).toEqual([])
  const all = entries(await readFile(out, 'utf8'))
  expect(all.length).toBe(2 + names.length + 20)
  const times = all.map(({ at }) => String(at))
  expect(times).toEqual([...times].sort())
  expect((await stat(out)).mode & 0o777).toBe(0o600)
  const again = await strongroom(['audit', 'export', '--out', out], { cwd })
  expect([again.code, again.stderr]).toEqual([1, expect.stringMatching(/file already exists/)])
  const wrong = await strongroom(['audit', 'export', '--from', 'yesterday'], { cwd })
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringMatching(/must be a time such as/)])
})

import { userInfo } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadKeys } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'

// In this order: beside a running server, whose answers are asked for.
let folder: string
let server: Command
let url: string
let key: string
let before: string
beforeAll(async () => {
  folder = await newFolder()
  server = new Command(['serve'], { cwd: folder, env: { STORAGE_PORT: '0' } })
  url = await server.url()
  const none = { jwtSecret: undefined, signingSecret: undefined }
  key = (await loadKeys(join(folder, 'storage-data'), none)).serviceKey
  await send('POST', '/bucket', '{"name":"diary","versioning_status":"ENABLED","public":true}')
  await send('POST', '/bucket', '{"name":"plain"}')
  for (const name of ['a', 'b']) await send('PUT', `/object/diary/2026/${name}`, 'one')
  await send('PUT', '/object/diary/other', 'one')
  await pause()
  before = new Date().toISOString()
  await pause()
  await send('PUT', '/object/diary/2026/a', 'two')
  await send('DELETE', '/object/diary/2026/b', null)
  await send('PUT', '/object/diary/2026/c', 'two')
  await send('PUT', '/object/diary/other', 'two')
})
afterAll(() => removeFolder(folder, [server]))

/** Into another millisecond. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 5))

async function send(method: string, path: string, body: string | null): Promise<void> {
  const answer = await fetch(`${url}${path}`, { method, headers: { authorization: `Bearer ${key}` }, body })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
}

/** As anybody reads them, whose answers the server keeps in memory. */
const contents = (...names: string[]) =>
  Promise.all(
    names.map(async (name) => {
      const answer = await fetch(`${url}/object/public/diary/${name}`)
      return answer.ok ? answer.text() : answer.status
    }),
  )

const restore = (...args: string[]) =>
  strongroom(['restore', ...args], { cwd: folder, env: { STORAGE_LOG_LEVEL: 'warn' } })

describe('restore <bucket>/<prefix> --at', () => {
  it('tells with --dry-run what it would do, and does nothing', async () => {
    const { code, stdout, stderr } = await restore('diary/2026/', '--at', before, '--dry-run')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toBe(
      `Dry run, nothing was changed. It would be: 2 restored, 1 deleted, 0 unchanged, 0 not available, as of ${before}.\n` +
        'Would be restored: diary/2026/a\nWould be restored: diary/2026/b\nWould be deleted: diary/2026/c\n',
    )
    expect(await contents('2026/a', '2026/b', '2026/c')).toEqual(['two', 404, 'two'])
  })

  it('puts what was there elsewhere with --to', async () => {
    const { code, stdout } = await restore('diary/2026/', '--at', before, '--to', 'was/')
    expect(code).toBe(0)
    expect(stdout).toBe(`2 restored, 0 deleted, 0 unchanged, 0 not available, as of ${before}.\n`)
    expect(await contents('was/a', 'was/b', 'was/c', '2026/a')).toEqual(['one', 'one', 404, 'two'])
  })

  it('brings a folder back beside a server, which knows it at once', async () => {
    expect(await contents('2026/a', '2026/b', '2026/c', 'other')).toEqual(['two', 404, 'two', 'two'])
    const { code, stdout } = await restore('diary/2026/', '--at', before)
    expect([code, stdout]).toEqual([
      0,
      `2 restored, 1 deleted, 0 unchanged, 0 not available, as of ${before}.\n`,
    ])
    await expect
      .poll(() => contents('2026/a', '2026/b', '2026/c', 'other'), { timeout: 30_000 })
      .toEqual(['one', 'one', 404, 'two'])
    const again = await restore('diary/2026/', '--at', before)
    expect(again.stdout).toMatch(/^0 restored, 0 deleted, 2 unchanged, 0 not available/)
  })

  it('is in the audit log: who, what and how much, and nothing of a dry run', async () => {
    const answer = await fetch(`${url}/audit?action=restore`, { headers: { authorization: `Bearer ${key}` } })
    const { items } = (await answer.json()) as { items: { target: string }[] }
    const about = {
      user_id: userInfo().username,
      via: 'command',
      bucket: 'diary',
      path: '2026/',
      status: 200,
    }
    const [again, back, aside] = [
      '0 restored, 0 deleted, 2 un',
      '2 restored, 1 deleted, 0 un',
      '2 restored, 0 deleted, 0 un',
    ]
    expect(items).toMatchObject(
      [`: ${again}`, `: ${back}`, `, to was/: ${aside}`].map((said) => ({
        ...about,
        target: `as of ${before}${said}changed, 0 not available`,
      })),
    )
    await restore('nowhere/', '--at', before)
    const refused = await fetch(`${url}/audit?bucket=nowhere`, {
      headers: { authorization: `Bearer ${key}` },
    })
    expect(await refused.json()).toMatchObject({ items: [{ action: 'restore', status: 404 }] })
  })

  it('says what it could not do, and ends with 1', async () => {
    const { code, stdout } = await restore('diary/', '--at', '2026-01-01T00:00Z')
    expect(code).toBe(1)
    expect(stdout).toMatch(/^0 restored, 0 deleted, 0 unchanged, \d not available/)
    expect(stdout).toContain('Left as it is, the bucket does not know what was there then: diary/2026/a\n')
    expect(stdout).toMatch(/What was deleted before .* may have left no trace\.\n$/)
  })

  it.each([
    [['diary/', '--at', 'yesterday'], '--at: yesterday must be a time'],
    [['diary/', '--at', '2999-01-01T00:00Z'], 'must not be in the future'],
    [['diary/'], 'say --at'],
    [
      ['diary/', '--at', '2026-01-01T00:00Z', '--mode', 'missing'],
      'goes with --at, --to and --dry-run alone',
    ],
    [['--at', '2026-01-01T00:00Z', '--to', 'x/'], '--to goes with <bucket>/<prefix>'],
    [['nowhere/', '--at', '2026-01-01T00:00Z'], 'Bucket not found'],
    [['plain/', '--at', '2026-01-01T00:00Z'], 'The bucket keeps neither versions nor a trash'],
  ])('refuses %j', async (args, said) => {
    const { code, stderr } = await restore(...args)
    expect(code).not.toBe(0)
    expect(stderr).toContain(said)
  })
})

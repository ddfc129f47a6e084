import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadKeys } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'

// In one folder and in this order, beside a running server.
let folder: string
let server: Command
let url: string
let serviceKey: string

beforeAll(async () => {
  folder = await newFolder()
  server = new Command(['serve'], { cwd: folder, env: { STORAGE_PORT: '0' } })
  url = await server.url()
  const none = { jwtSecret: undefined, signingSecret: undefined }
  serviceKey = (await loadKeys(join(folder, 'storage-data'), none)).serviceKey
  await send('POST', '/bucket', '{"name":"hello"}')
  for (const name of ['1.txt', '2.txt', '3.txt']) await send('POST', `/object/hello/${name}`, name)
})
afterAll(() => removeFolder(folder, [server]))

async function send(method: string, path: string, body: string | null = null): Promise<string> {
  const headers = { authorization: `Bearer ${serviceKey}` }
  const response = await fetch(`${url}${path}`, { method, headers, body })
  const text = await response.text()
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`)
  return text
}

async function files(): Promise<number> {
  const entries = await readdir(join(folder, 'storage-data', 'objects'), {
    recursive: true,
    withFileTypes: true,
  })
  return entries.filter((entry) => entry.isFile()).length
}

const inline = (args: string[], env: Record<string, string> = {}) =>
  strongroom(['inline', ...args], { cwd: folder, env: { STORAGE_LOG_LEVEL: 'warn', ...env } })

describe('strongroom inline', () => {
  it('--dry-run tells what it would move, and moves nothing', async () => {
    expect(await inline(['--out', '--dry-run'])).toMatchObject({
      code: 0,
      stdout: 'Dry run, nothing was changed. It would move 3 objects with 0 MB out of the database.\n',
    })
    expect(await files()).toBe(0)
  })

  it('--out makes files of them, and --in brings them back, while a server sends them', async () => {
    expect(await inline(['--out', '--bucket', 'hello'])).toMatchObject({
      code: 0,
      stdout: '3 objects with 0 MB were moved out of the database.\nNothing is left.\n',
    })
    expect(await files()).toBe(3)
    expect(await send('GET', '/object/hello/1.txt')).toBe('1.txt')
    expect(await inline(['--in', '--rate', '1000'])).toMatchObject({
      code: 0,
      stdout: '3 objects with 0 MB were moved into the database.\nNothing is left.\n',
    })
    expect(await files()).toBe(0)
    expect(await send('GET', '/object/hello/1.txt')).toBe('1.txt')
  })

  it('says what it cannot do', async () => {
    for (const args of [[], ['--in', '--out']]) {
      const { code, stderr } = await inline(args)
      expect([code, stderr]).toEqual([1, expect.stringContaining('use either --in or --out')])
    }
    const never = await inline(['--in'], { STORAGE_INLINE_SIZE: '0' })
    expect([never.code, never.stderr]).toEqual([1, expect.stringContaining('STORAGE_INLINE_SIZE is 0')])
    const nowhere = await inline(['--out', '--bucket', 'nope'])
    expect([nowhere.code, nowhere.stderr]).toEqual([1, 'strongroom: Bucket not found\n'])
    const rate = await inline(['--out', '--rate', 'fast'])
    expect([rate.code, rate.stderr]).toEqual([1, expect.stringContaining('Use a whole number')])
  })
})

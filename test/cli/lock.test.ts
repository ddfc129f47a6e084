import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'

// Beside a running server, as it is used most.
let folder: string
let server: Command
let url: string
let headers: Record<string, string>
beforeAll(async () => {
  folder = await newFolder()
  server = new Command(['serve'], { cwd: folder, env: { STORAGE_PORT: '0' } })
  url = await server.url()
  const { serviceKey } = JSON.parse((await strongroom(['keys'], { cwd: folder })).stdout)
  headers = { authorization: `Bearer ${serviceKey}` }
})
afterAll(() => removeFolder(folder, [server]))

const run = (...args: string[]) => strongroom(['lock', ...args], { cwd: folder })

async function ask(method: string, path: string, body?: object | string) {
  const text = typeof body === 'object' ? JSON.stringify(body) : body
  const answer = await fetch(`${url}/storage/v1${path}`, { method, headers, ...(text && { body: text }) })
  const said = await answer.text()
  return { status: answer.status, body: said === '' ? {} : JSON.parse(said) }
}

describe('strongroom lock', () => {
  it('lists what is locked, and lets a version go, which the audit log tells', async () => {
    await ask('POST', '/bucket', { name: 'vault', object_lock: true, retention_days: 9 })
    await ask('PUT', '/object/vault/a/b', 'one')
    const { body: lock } = await ask('PUT', '/lock/vault/a/b', { legal_hold: true })
    const version = lock.version_id
    expect((await run('list', 'other')).stdout).toContain('(0 rows)')
    for (const args of [[], ['vault']])
      expect((await run('list', ...args)).stdout).toMatch(
        new RegExp(`^ vault *\\| a/b *\\| ${version} \\| by a legal hold`, 'm'),
      )

    const lift = ['lift', 'vault/a/b', '--version-id', version, '--reason', 'the court has let it go']
    const lifted = await run(...lift)
    expect([lifted.stderr, lifted.code]).toEqual(['', 0])
    expect(lifted.stdout).toMatch(
      /^Let go: version .* of vault\/a\/b, which was locked until .* and by a legal hold\.\n$/,
    )
    const { items } = (await ask('GET', '/audit?action=unlock')).body
    expect(items).toMatchObject([
      {
        bucket: 'vault',
        path: 'a/b',
        resource_id: version,
        target: 'the court has let it go',
        via: 'database',
      },
    ])
    expect(await run(...lift)).toMatchObject({
      code: 1,
      stderr: `strongroom: vault/a/b has no version ${version} that is locked\n`,
    })
    expect((await ask('DELETE', `/object/vault/a/b?versionId=${version}`)).status).toBe(204)
  })

  it('wants a path, a version and a reason', async () => {
    for (const args of [
      ['lift', 'vault', '--version-id', 'x', '--reason', 'y'],
      ['lift', 'vault/a', '--reason', 'y'],
      ['lift', 'vault/a', '--version-id', 'x'],
    ])
      expect((await run(...args)).code).toBe(1)
  })
})

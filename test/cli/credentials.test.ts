import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'

// Beside a running server, as it is used most.
let folder: string
let server: Command
let url: string
beforeAll(async () => {
  folder = await newFolder()
  server = new Command(['serve'], { cwd: folder, env: { STORAGE_PORT: '0' } })
  url = await server.url()
})
afterAll(() => removeFolder(folder, [server]))

const run = (args: string[], env: Record<string, string> = {}) =>
  strongroom(['credentials', ...args], { cwd: folder, env })

describe('strongroom credentials', () => {
  it('makes one, lists it without its secret, and revokes it', async () => {
    const given = ['--role', 'authenticated', '--subject', 'user-1', '--claims', '{"tenant":"a"}']
    const made = await run(['create', ...given, '--description', 'nightly', '--expires-in', '30d'])
    expect([made.code, made.stderr]).toEqual([0, ''])
    const pair = JSON.parse(made.stdout)
    expect(pair).toMatchObject({
      role: 'authenticated',
      subject: 'user-1',
      claims: { tenant: 'a' },
      description: 'nightly',
    })
    expect(Object.keys(pair).slice(0, 2)).toEqual(['access_key_id', 'secret_access_key'])
    expect(new Date(pair.expires_at).getTime() - new Date(pair.created_at).getTime()).toBeGreaterThan(2.5e9)

    const { secret_access_key, ...shown } = pair
    const listed = await run(['list', '--json'])
    expect(
      listed.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([shown])
    const table = await run(['list'])
    expect(table.stdout).toMatch(new RegExp(`^ ${pair.access_key_id} \\| authenticated \\| user-1 `, 'm'))
    expect(table.stdout).toContain('(1 row)')
    expect(table.stdout + listed.stdout).not.toContain(secret_access_key)

    const revoked = await run(['revoke', pair.access_key_id])
    expect([revoked.code, revoked.stdout]).toEqual([0, expect.stringMatching(/^Revoked: /)])
    expect((await run(['list', '--json'])).stdout).toBe('')
    const again = await run(['revoke', pair.access_key_id])
    expect([again.code, again.stdout, again.stderr]).toEqual([
      1,
      '',
      'strongroom: There is no such access key\n',
    ])
  })

  it('makes what the server knows, and lists what the server has made', async () => {
    const { serviceKey } = JSON.parse((await strongroom(['keys'], { cwd: folder })).stdout)
    const headers = { authorization: `Bearer ${serviceKey}` }
    const pair = JSON.parse((await run(['create', '--role', 'anon'])).stdout)
    const known = await fetch(`${url}/storage/v1/credential/${pair.access_key_id}`, { headers })
    expect(await known.json()).toMatchObject({ role: 'anon', sealed_under: 'current' })
    const body = '{"role":"service_role","description":"\\u001b[31mred\\nline"}'
    await fetch(`${url}/storage/v1/credential`, { method: 'POST', headers, body })
    const { stdout } = await run(['list'])
    expect(stdout).toContain('(2 rows)')
    expect(stdout).toContain('\\u001b[31mred\\nline')
  })

  it('seals anew what the secret of before has sealed', async () => {
    const { signingSecret } = JSON.parse((await strongroom(['keys', '--secrets'], { cwd: folder })).stdout)
    const next = { STORAGE_SIGNING_SECRET: 'the next signing secret, long enough' }
    expect((await run(['list'], next)).stdout).toMatch(/\| unknown +\|/)
    const lost = await run(['reseal'], next)
    expect([lost.code, lost.stdout]).toEqual([
      1,
      expect.stringMatching(/^Sealed anew: 0\.\nOpened by no secret .* SR/),
    ])

    const rotated = { ...next, STORAGE_SIGNING_SECRET_PREVIOUS: signingSecret }
    expect((await run(['list'], rotated)).stdout).toMatch(/\| previous +\|/)
    expect(await run(['reseal'], rotated)).toMatchObject({ code: 0, stdout: 'Sealed anew: 2.\n' })
    expect((await run(['list'], next)).stdout).toMatch(/\| current +\|/)
  })

  it.concurrent.each<[args: string[], message: RegExp]>([
    [['create'], /required option '--role <role>' not specified/],
    [
      ['create', '--role', 'postgres'],
      /--role must be one of anon, authenticated, service_role; STORAGE_JWT_ROLES/,
    ],
    [['create', '--role', 'anon', '--claims', '{'], /Use a JSON object/],
    [['create', '--role', 'anon', '--claims', '[1]'], /--claims must be an object/],
    [['create', '--role', 'anon', '--claims', '{"sub":"x"}'], /--claims must not hold role, sub/],
    [['create', '--role', 'anon', '--expires-in', '0s'], /Use a duration such as 12h or 30d/],
    [['create', '--role', 'anon', '--subject', ''], /--subject must not be empty/],
    [['revoke'], /missing required argument 'access-key-id'/],
  ])('%j is refused in one line', async (args, message) => {
    const { code, stdout, stderr } = await run(args)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^strongroom: [^\n]+\n$/)
    expect(stderr).toMatch(message)
  })

  it.concurrent('says where it must be run when there is no secret to seal with', async () => {
    const elsewhere = await newFolder()
    const { code, stderr } = await strongroom(['credentials', 'list'], { cwd: elsewhere })
    await removeFolder(elsewhere, [])
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^strongroom: There are no keys in .* STORAGE_SIGNING_SECRET/),
    ])
  })
})

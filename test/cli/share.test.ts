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
  const { serviceKey } = JSON.parse((await strongroom(['keys'], { cwd: folder })).stdout)
  const headers = { authorization: `Bearer ${serviceKey}` }
  const asJson = { ...headers, 'content-type': 'application/json' }
  await fetch(`${url}/storage/v1/bucket`, { method: 'POST', headers: asJson, body: '{"name":"docs"}' })
  await fetch(`${url}/storage/v1/object/docs/a/b.txt`, { method: 'POST', headers, body: 'hello' })
})
afterAll(() => removeFolder(folder, [server]))

const run = (args: string[], env: Record<string, string> = {}) =>
  strongroom(['share', ...args], { cwd: folder, env })
const made = async (args: string[], env: Record<string, string> = {}) => {
  const { code, stdout, stderr } = await run(['create', ...args], env)
  expect([code, stderr]).toEqual([0, ''])
  return JSON.parse(stdout)
}
const visit = (id: string, headers: Record<string, string>) =>
  fetch(`${url}/storage/v1/share/${id}`, { headers })

describe('strongroom share', () => {
  it('shares an object, lists it without its secret, and ends it', async () => {
    const share = await made(['docs/a/b.txt', '--download', '--max-downloads', '2', '--hours', '48'])
    expect(share).toMatchObject({
      share_url: expect.stringMatching(/\/storage\/v1\/share\/[\w-]{22}$/),
      permissions: { view: true, download: true, delete: false },
      max_downloads: 2,
    })
    const told = await visit(share.share_id, { 'x-share-token': share.access_token })
    const { download_url } = (await told.json()) as { download_url: string }
    expect(await (await fetch(download_url)).text()).toBe('hello')

    const listed = await run(['list', '--json'])
    expect(JSON.parse(listed.stdout)).toMatchObject({ share_id: share.share_id, download_count: 1 })
    const table = await run(['list', '--active'])
    expect(table.stdout).toMatch(new RegExp(`^ ${share.share_id} \\| docs/a/b.txt \\| the service `, 'm'))
    expect(table.stdout).toContain('1 of 2')
    expect(table.stdout + listed.stdout).not.toContain(share.access_token)

    const revoked = await run(['revoke', share.share_id])
    expect([revoked.code, revoked.stdout]).toEqual([0, expect.stringMatching(/^Revoked: /)])
    expect((await visit(share.share_id, { 'x-share-token': share.access_token })).status).toBe(404)
    expect((await fetch(download_url)).status).toBe(410)
    expect((await run(['list', '--active', '--json'])).stdout).toBe('')
  })

  it('takes a password from the environment', async () => {
    const share = await made([`docs/a/b.txt`, '--password'], { STRONGROOM_SHARE_PASSWORD: 'open sesame' })
    expect(share).toMatchObject({ access_token: null, has_password: true })
    expect((await visit(share.share_id, { 'x-share-password': 'open sesame' })).status).toBe(200)
    const all = await run(['revoke', '--by', 'nobody'])
    expect(all.stdout).toBe('Revoked: 0 of nobody.\n')
  })

  it.each([
    [['create', 'docs/missing'], 'Object not found'],
    [['create', 'docs'], 'Object not found'],
    [['create', 'docs/a/b.txt', '--hours', '721'], 'from 1 to 720'],
    [['create', 'docs/a/b.txt', '--password'], 'STRONGROOM_SHARE_PASSWORD'],
    [['revoke', 'nothing'], 'no such share'],
    [['revoke'], 'name a share'],
  ])('says why not to %j', async (args, why) => {
    const { code, stdout, stderr } = await run(args)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain(why)
  })
})

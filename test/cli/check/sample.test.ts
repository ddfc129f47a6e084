import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadKeys } from '../../../src/server/keys.ts'
import { expectFailure, told } from '../../support/check-results.ts'
import { Command, newFolder, removeFolder, strongroom } from '../../support/command.ts'
import { IN_FILES } from '../../support/server.ts'

// In one folder and in this order: beside the server that wrote the objects.
describe('strongroom check, where there are objects', () => {
  const OBJECTS = 23
  let cwd: string
  let server: Command
  let bucketFolder: string
  let ask: (method: string, path: string, body?: string | null) => Promise<void>

  beforeAll(async () => {
    cwd = await newFolder()
    const env = { ...IN_FILES, STORAGE_PORT: '0', STORAGE_CLEANUP_INTERVAL: '0s' }
    server = new Command(['serve'], { cwd, env })
    const url = await server.url()
    const secrets = { jwtSecret: undefined, signingSecret: undefined }
    const { serviceKey } = await loadKeys(join(cwd, 'storage-data'), secrets)
    const headers = { authorization: `Bearer ${serviceKey}` }
    ask = async (method, path, body = null) => {
      const response = await fetch(`${url}${path}`, { method, headers, body })
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    }
    const post = (path: string, body: string) => ask('POST', path, body)
    await post('/bucket', '{"name":"b"}')
    for (let i = 0; i < OBJECTS; i++) await post(`/object/b/${i}`, 'bytes')
    bucketFolder = join(objects(), (await readdir(objects()))[0] ?? '')
  })
  afterAll(() => removeFolder(cwd, [server]))

  const objects = () => join(cwd, 'storage-data', 'objects')
  const check = () => strongroom(['check'], { cwd })

  it('finds the bytes of a sample of them', async () => {
    const ended = await check()
    expect(ended).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/\n\nAll is well\.\n$/),
    })
    expect(told(ended)['objects: sample']).toEqual(['ok', '20 of 20 have their bytes'])
  })

  it('warns when a few have none, and names the cleanup', async () => {
    const files = await readdir(bucketFolder, { recursive: true, withFileTypes: true })
    // Three objects are in no sample of 20, so one of four is in each.
    const some = files.filter((entry) => entry.isFile()).slice(0, 4)
    const away = some.map((entry) => ({
      from: join(entry.parentPath, entry.name),
      to: join(cwd, entry.name),
    }))
    for (const { from, to } of away) await rename(from, to)
    const ended = await check()
    expect(ended.code).toBe(0)
    expect(told(ended)['objects: sample']).toEqual([
      'warning',
      expect.stringMatching(/^[1-4] of 20 objects have no bytes here: `strongroom cleanup --dry-run` /),
    ])
    for (const { from, to } of away) await rename(to, from)
  })

  it('fails when all files are elsewhere', async () => {
    await rename(objects(), `${objects()}.away`)
    await mkdir(objects())
    expectFailure(
      await check(),
      'objects: sample',
      /^20 of 20 objects have no bytes here: wrong bucket, prefix or folder \(settings\), or .*STORAGE_BACKEND_PREVIOUS\)\?$/,
    )
    await rm(objects(), { recursive: true })
    await rename(`${objects()}.away`, objects())
  })

  it('looks at what was there before, where few objects are left', async () => {
    await ask('PUT', '/bucket/b', '{"versioning_status":"ENABLED"}')
    for (let i = 2; i < OBJECTS; i++) await ask('DELETE', `/object/b/${i}`)
    expect(told(await check())['objects: sample']).toEqual(['ok', '20 of 20 have their bytes'])
    await rename(objects(), `${objects()}.away`)
    await mkdir(objects())
    expectFailure(await check(), 'objects: sample', /^20 of 20 objects have no bytes here/)
    await rm(objects(), { recursive: true })
    await rename(`${objects()}.away`, objects())
  })
})

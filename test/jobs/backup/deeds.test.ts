import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesPath } from '../../../src/jobs/backup/entries.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { fileOf } from '../../support/cleanup.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

interface Job {
  id: string
  status: string
  error: string | null
  object_count: number
}

describe('a server', () => {
  let target: string
  let server: TestServer
  const large = randomBytes(40_000)
  beforeAll(async () => {
    target = await mkdtemp(join(tmpdir(), 'strongroom-backups-'))
    server = await startTestServer({ STORAGE_BACKUP_TARGET: target })
    await server.createBucket('box')
    await server.request('PUT', '/object/box/small', { body: 'few bytes' })
    await server.request('PUT', '/object/box/large', { body: large as unknown as string })
  })
  afterAll(async () => {
    await server?.close()
    await rm(target, { recursive: true, force: true })
  })

  const ask = async (method: string, path: string, body?: object) => {
    const response = await server.request(method, `/storage/v1/backup${path}`, { ...(body && { body }) })
    return { status: response.status, json: (await response.json().catch(() => null)) as Job }
  }
  const ended = async ({ id }: Job) => {
    let job: Job | undefined
    await until(async () => {
      job = (await ask('GET', `/${id}`)).json
      return !['pending', 'running', 'restoring'].includes(job.status)
    }, 'the job has come to its end')
    return job
  }
  const content = async (name: string) => {
    const response = await server.request('GET', `/object/box/${name}`)
    return response.status === 200 ? Buffer.from(await response.arrayBuffer()) : response.status
  }

  it('makes the backup that it is asked for, links files where it can, and brings it back', async () => {
    const made = await ask('POST', '', { type: 'full' })
    expect(made).toMatchObject({ status: 202, json: { status: 'pending' } })
    const { id } = made.json
    expect(await ended(made.json)).toMatchObject({ status: 'completed', error: null, object_count: 2 })
    const [row] = await server.admin`select checksum from storage.objects where name = 'large'`
    const [live, kept] = await Promise.all([
      stat(await fileOf(server, 'box', 'large')),
      stat(join(target, id, bytesPath(row?.checksum))),
    ])
    expect(kept.ino).toBe(live.ino)

    await server.request('DELETE', '/object/box/large')
    await server.request('PUT', '/object/box/small', { body: 'newer' })
    const missing = await ask('POST', `/${id}/restore`, { mode: 'missing' })
    expect(await ended(missing.json)).toMatchObject({ status: 'restored', object_count: 1 })
    expect([await content('large'), await content('small')]).toEqual([large, Buffer.from('newer')])
    const replace = await ask('POST', `/${id}/restore`, { mode: 'replace' })
    await ended(replace.json)
    expect(await content('small')).toEqual(Buffer.from('few bytes'))

    expect((await ask('DELETE', `/${id}`)).status).toBe(204)
    await until(async () => !(await readdir(target)).includes(id), 'the backup is gone from its target')
  })

  it('removes what a killed one has left, and leaves alone what may be of another server', async () => {
    const killed = (await ask('POST', '', { type: 'full' })).json
    await ended(killed)
    await rm(join(target, killed.id, 'manifest.json'))
    const others = uuidV7()
    await mkdir(join(target, others))
    await writeFile(join(target, others, 'files.ndjson.new-0123456789abcdef'), '')
    await ended((await ask('POST', '', { type: 'full' })).json)
    const left = await readdir(target)
    expect(left).not.toContain(killed.id)
    expect(left).toContain(others)
  })

  it('completes the one whose process was killed behind its manifest, and says that any other has failed', async () => {
    const { id } = (await ask('POST', '', { type: 'full' })).json
    const completed = await ended({ id } as Job)
    const kill = () => server.admin`
      update storage.backup_jobs set status = 'running', completed_at = null, expires_at = null where id = ${id}`
    await kill()
    expect(await ended({ id } as Job)).toMatchObject({
      status: 'completed',
      error: null,
      object_count: completed?.object_count,
    })
    await rm(join(target, id, 'manifest.json'))
    await kill()
    expect(await ended({ id } as Job)).toMatchObject({ status: 'failed', error: expect.any(String) })
  })

  it('builds an incremental one on the newest, and says of one that fails why', async () => {
    const first = (await ask('POST', '', { type: 'full' })).json
    await ended(first)
    const second = (await ask('POST', '', { type: 'incremental' })).json
    expect(await ended(second)).toMatchObject({ status: 'completed', type: 'incremental', parent: first.id })
    await rm(join(target, 'strongroom-backups.json'))
    const third = (await ask('POST', '', { type: 'full' })).json
    expect(await ended(third)).toMatchObject({
      status: 'failed',
      error: expect.stringContaining('other files'),
    })
    expect(await server.admin`select from storage.backup_holds`).toEqual([])
  })
})

describe('a server that encrypts its backups for a recipient', () => {
  let folder: string
  let identity: string
  let recipient: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'strongroom-encrypted-'))
    identity = await generateX25519Identity()
    recipient = await identityToRecipient(identity)
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  /** An incremental backup upon a full one. */
  async function incrementalOf(name: string, settings: Record<string, string> = {}) {
    const server = await startTestServer({
      STORAGE_BACKUP_TARGET: join(folder, name),
      STORAGE_BACKUP_RECIPIENT: recipient,
      ...settings,
    })
    try {
      await server.createBucket('box')
      await server.request('PUT', '/object/box/a', { body: 'a' })
      const made: Record<string, unknown>[] = []
      for (const type of ['full', 'incremental']) {
        const asked = await server.request('POST', '/storage/v1/backup', { body: { type } })
        const { id } = (await asked.json()) as Job
        await until(async () => {
          const response = await server.request('GET', `/storage/v1/backup/${id}`)
          const job = (await response.json()) as Record<string, unknown>
          if (job.status === 'completed' || job.status === 'failed') made.push(job)
          return made.at(-1)?.id === id
        }, 'it has ended')
      }
      return { full: made[0], last: made[1], logs: server.logs }
    } finally {
      await server.close()
    }
  }

  it('makes full ones in place of incremental ones without the identity, and says so', async () => {
    const { last, logs } = await incrementalOf('write-only')
    expect(last).toMatchObject({ status: 'completed', type: 'full', parent: null, object_count: 1 })
    expect(last?.note).toContain('can only be read with its identity (STORAGE_BACKUP_IDENTITY)')
    expect(logs.map(({ msg }) => msg)).toContainEqual(expect.stringContaining('is made as a full one'))
  })

  it('makes incremental ones with it, and logs nothing of it', async () => {
    const file = join(folder, 'identity')
    await writeFile(file, `# made by a test\n${identity}\n`)
    const { full, last, logs } = await incrementalOf('with-identity', { STORAGE_BACKUP_IDENTITY: file })
    expect(last).toMatchObject({ status: 'completed', type: 'incremental', parent: full?.id, note: null })
    expect(JSON.stringify(logs)).not.toContain(identity)
  })
})

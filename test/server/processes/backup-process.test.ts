import { existsSync, readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ServerProcesses } from '../../faults/server-processes.ts'
import { type Command, isAlive } from '../../support/command.ts'
import { nicenessOf, readIfThere, statFieldsOf } from '../../support/processes.ts'
import { until } from '../../support/wait.ts'

interface Job {
  id: string
  status: string
  error: string | null
}

describe.runIf(existsSync('/proc/self/stat'))('a backup that a server makes', () => {
  let servers: ServerProcesses
  let server: Command
  beforeAll(async () => {
    servers = await ServerProcesses.open({ STORAGE_BACKUP_SHARE: '1' })
    server = await servers.start()
  })
  afterEach(() => letGo())
  afterAll(() => servers?.remove())

  let letGo = () => {}

  /** A backup waits for who had begun to write before it, so that it is met under way. */
  async function keepWaiting(): Promise<void> {
    const released = new Promise<void>((resolve) => {
      letGo = resolve
    })
    await new Promise<void>((resolve, reject) => {
      const writing = servers.database.admin.begin(async (tx) => {
        await tx`select pg_current_xact_id()`
        resolve()
        await released
      })
      writing.catch(reject)
    })
  }

  async function ask(): Promise<Job> {
    const response = await servers.request('POST', '/storage/v1/backup', { body: {} })
    expect(response.status).toBeLessThan(300)
    return (await response.json()) as Job
  }

  async function end({ id }: Job): Promise<Job> {
    let job: Job | undefined
    await until(async () => {
      job = (await (await servers.request('GET', `/storage/v1/backup/${id}`)).json()) as Job
      return job.status === 'completed' || job.status === 'failed'
    }, 'the backup has ended')
    return job as Job
  }

  /** The process that makes it, once there is one. */
  async function maker(): Promise<number> {
    let found: number | undefined
    await until(() => {
      found = childrenOf(server).find((pid) => readIfThere(`/proc/${pid}/cmdline`).includes('backup-process'))
      return found !== undefined
    }, 'a process makes the backup')
    return found as number
  }

  const holds = () => servers.database.admin`select from storage.backup_holds`

  it('has a process of its own, which ends with it and gives way to nobody with STORAGE_BACKUP_SHARE=1', async () => {
    await keepWaiting()
    const job = await ask()
    const pid = await maker()
    await until(async () => (await holds()).length > 0, 'the backup is under way')
    expect(new Set(nicenessOf(pid))).toEqual(new Set([getPriority()]))
    letGo()
    expect(await end(job)).toMatchObject({ status: 'completed', error: null })
    await until(() => !isAlive(pid), 'the process has ended')
  })

  it('has failed when its process was killed, and the next one is made', async () => {
    await keepWaiting()
    const job = await ask()
    process.kill(await maker(), 'SIGKILL')
    const ended = await end(job)
    expect([ended.status, ended.error]).toEqual(['failed', expect.stringContaining('SIGKILL')])
    letGo()
    expect(await end(await ask())).toMatchObject({ status: 'completed' })
  })

  it('says why it has failed, as the server itself would', async () => {
    const { items } = (await (await servers.request('GET', '/storage/v1/backup')).json()) as { items: Job[] }
    const { id } = items.find(({ status }) => status === 'completed') as Job
    await writeFile(join(servers.folder, 'storage-data', 'backups', id, 'manifest.json'), '{}')
    const response = await servers.request('POST', `/storage/v1/backup/${id}/restore`, { body: {} })
    const job = await end((await response.json()) as Job)
    expect([job.status, job.error]).toEqual([
      'failed',
      expect.stringContaining(`The manifest of backup ${id}`),
    ])
    const logged = () => server.logs.find((line) => line.job === job.id && line.level === 'error')
    await until(() => logged() !== undefined, 'the log says so')
    expect(logged()).toMatchObject({
      err: { type: 'BackupError', stack: expect.stringContaining('readManifest') },
    })
  })

  it('ends in order with its server', async () => {
    await keepWaiting()
    const job = await ask()
    const pid = await maker()
    await until(async () => (await holds()).length > 0, 'the backup is under way')
    server.signal('SIGTERM')
    expect((await server.ended).code).toBe(0)
    expect(isAlive(pid)).toBe(false)
    letGo()
    server = await servers.start()
    expect(await end(job)).toMatchObject({ status: 'failed', error: 'It was interrupted' })
  })

  it('ends at once when its server is killed', async () => {
    await keepWaiting()
    const job = await ask()
    const pid = await maker()
    server.signal('SIGKILL')
    await until(() => !isAlive(pid), 'the process has ended')
    letGo()
    server = await servers.start({ STORAGE_BACKUP_SHARE: '' })
    expect(await end(job)).toMatchObject({ status: 'failed' })
  })

  it('lets all others go first, unless a setting says otherwise', async () => {
    await keepWaiting()
    const job = await ask()
    const pid = await maker()
    await until(() => nicenessOf(pid).every((nice) => nice > getPriority()), 'all of its threads give way')
    letGo()
    expect(await end(job)).toMatchObject({ status: 'completed' })
  })
})

function childrenOf({ child }: Command): number[] {
  const all = readdirSync('/proc').map(Number).filter(Boolean)
  return all.filter((pid) => Number(statFieldsOf(`/proc/${pid}/stat`)[1]) === child.pid)
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { GetObjectCommand, ListBucketsCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Radosgw, type S3Access, startRadosgw } from './radosgw.ts'
import { describeWithS3, newStoreBucket, s3Client } from './s3.ts'
import { until } from './wait.ts'

describeWithS3("the test run's S3 store", (s3) => {
  it('gives back what was put', async () => {
    const at = { Bucket: await newStoreBucket(s3), Key: 'a/b c' }
    await put(s3, at, 'stored')
    expect(await get(s3, at)).toBe('stored')
  })

  it('refuses a wrong secret', async () => {
    const stranger = s3Client({ ...s3, secretKey: 'guessed' })
    await expect(stranger.send(new ListBucketsCommand())).rejects.toMatchObject({
      name: 'SignatureDoesNotMatch',
      $metadata: { httpStatusCode: 403 },
    })
    stranger.destroy()
  })

  it('refuses a request that was changed after it was signed', async () => {
    const client = s3Client(s3)
    const { requestHandler } = client.config
    const send = requestHandler.handle.bind(requestHandler)
    requestHandler.handle = (request, options) => {
      request.query['max-buckets'] = '1'
      return send(request, options)
    }
    await expect(client.send(new ListBucketsCommand())).rejects.toMatchObject({
      name: 'SignatureDoesNotMatch',
      $metadata: { httpStatusCode: 403 },
    })
    client.destroy()
  })

  it('does not outlive the process that has started it, even when that is killed', async () => {
    const script = `
      const { startRadosgw } = await import('${new URL('radosgw.ts', import.meta.url)}')
      const { pids, folder } = await startRadosgw()
      console.log(JSON.stringify({ pids, folder }))
      setInterval(() => {}, 1000)`
    const parent = spawn('node', ['--import', 'tsx', '--input-type=module', '--eval', script], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer]
      const { pids, folder } = JSON.parse(line.toString()) as { pids: number[]; folder: string }
      expect(pids.filter(isRunning)).toHaveLength(3)
      expect(existsSync(folder)).toBe(true)

      parent.kill('SIGKILL')
      await until(() => !pids.some(isRunning), 'its daemons are gone')
      await until(() => !existsSync(folder), 'its folder is gone')
    } finally {
      parent.kill('SIGKILL')
    }
  })
})

describeWithS3('an S3 store of its own', () => {
  let store: Radosgw
  beforeAll(async () => {
    store = await startRadosgw()
  })
  afterAll(() => store?.stop())

  it('is away while its gateway is stopped, and has kept everything when it is back', async () => {
    const at = { Bucket: await newStoreBucket(store), Key: 'kept' }
    await put(store, at, 'stored')
    await store.stopGateway()
    await expect(get(store, at)).rejects.toMatchObject({ code: 'ECONNREFUSED' })

    await store.startGateway()
    expect(await get(store, at)).toBe('stored')
    await newStoreBucket(store)
  })
})

interface At {
  Bucket: string
  Key: string
}

async function put(store: S3Access, at: At, Body: string): Promise<void> {
  const client = s3Client(store)
  await client.send(new PutObjectCommand({ ...at, Body })).finally(() => client.destroy())
}

async function get(store: S3Access, at: At): Promise<string | undefined> {
  const client = s3Client(store)
  try {
    const { Body } = await client.send(new GetObjectCommand(at))
    return await Body?.transformToString()
  } finally {
    client.destroy()
  }
}

/** One that has ended and that nobody has waited for does not count: it has no program any more. */
function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}/exe`)
}

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { DeleteBucketPolicyCommand, ListObjectsV2Command, PutBucketPolicyCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { checkStore } from '../../src/backend/s3/check.ts'
import { readConfig } from '../../src/config/config.ts'
import { loadKeys } from '../../src/server/keys.ts'
import { expectFailure, failure, gather, told, withListener } from '../support/check-results.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import type { S3Access } from '../support/radosgw.ts'
import { describeWithS3, s3Client, s3Env } from '../support/s3.ts'
import { IN_FILES, startTestServer } from '../support/server.ts'

let folder: string
beforeAll(async () => {
  folder = await newFolder()
})
afterAll(() => removeFolder(folder, []))

/** Without a look for roles, which would go beyond this machine. */
const run = (env: Record<string, string>) =>
  strongroom(['check'], { cwd: folder, env: { AWS_EC2_METADATA_DISABLED: 'true', ...env } })

/** What the command has to tell of a store. */
function lookAt(env: Record<string, string>) {
  const { s3: settings } = readConfig(env)
  if (!settings) throw new Error('there are no settings for S3')
  return gather(checkStore(settings))
}

// Each looks at a store of its own where it matters what is in it: most of the time they wait for a command.
describeWithS3.concurrent('strongroom check, with an S3 store', (s3) => {
  let good: Record<string, string>
  beforeAll(async () => {
    good = await s3Env(s3)
  })

  it('finds all well where it is, and leaves nothing in the bucket', async () => {
    const env = await s3Env(s3)
    const ended = await run({ ...env, STORAGE_S3_PREFIX: 'some/where' })
    expect(ended.code).toBe(0)
    const store = Object.entries(told(ended)).filter(([about]) => about.startsWith('store'))
    expect(store.map(([about, [state]]) => `${about} ${state}`)).toEqual([
      'store ok',
      'store: list ok',
      'store: uploads ok',
      'store: write ok',
      'store: parts ok',
      'store: read ok',
      'store: delete ok',
    ])
    const { STORAGE_S3_BUCKET: Bucket = '', STORAGE_S3_ENDPOINT = '' } = env
    for (const word of [Bucket, STORAGE_S3_ENDPOINT, 'us-east-1', 'some/where/']) {
      expect(told(ended).store?.[1]).toContain(word)
    }
    const client = s3Client(s3)
    const { KeyCount } = await client.send(new ListObjectsV2Command({ Bucket }))
    client.destroy()
    expect(KeyCount).toBe(0)
    expect(ended.stdout).not.toContain(s3.secretKey)
  })

  it('looks for the bytes of the objects where the settings say', async () => {
    const place = await newFolder()
    const env = { ...IN_FILES, ...good, STORAGE_S3_PREFIX: 'theirs' }
    const server = new Command(['serve'], { cwd: place, env: { ...env, STORAGE_PORT: '0' } })
    try {
      const url = await server.url()
      const { serviceKey } = await loadKeys(join(place, 'storage-data'), {
        jwtSecret: undefined,
        signingSecret: undefined,
      })
      const headers = { authorization: `Bearer ${serviceKey}` }
      for (const [path, body] of [
        ['/bucket', '{"name":"b"}'],
        ['/object/b/one', 'bytes'],
        ['/object/b/two', 'bytes'],
      ]) {
        expect((await fetch(`${url}${path}`, { method: 'POST', headers, body: body ?? null })).ok).toBe(true)
      }
      const check = (settings: Record<string, string>) => strongroom(['check'], { cwd: place, env: settings })
      const sampleOf = async (settings: Record<string, string>) =>
        told(await check(settings))['objects: sample']
      expect(await sampleOf(env)).toEqual(['ok', '2 of 2 have their bytes'])
      expectFailure(
        await check({ ...env, STORAGE_S3_PREFIX: 'ours' }),
        'objects: sample',
        /^2 of 2 objects have no bytes here: wrong bucket, prefix or folder/,
      )
      // As before the first start of a move to the folder, which is not made.
      const move = { ...env, STORAGE_BACKEND: 'local', STORAGE_BACKEND_PREVIOUS: 's3' }
      expect(await sampleOf(move)).toBeUndefined()
      await mkdir(join(place, 'storage-data', 'objects'))
      const moving = await check(move)
      expect(told(moving)['objects: sample']).toEqual(['ok', '2 of 2 have their bytes'])
      const lines = moving.stdout.split('\n').filter((line) => /^(ok|warning|failed) /.test(line))
      expect(lines.find((line) => line.includes('previous store: uploads'))).toBeDefined()
      for (const line of lines) expect(line).toMatch(/^.{33} \S/) // in columns
    } finally {
      await removeFolder(place, [server])
    }
  })

  it('finds the credentials where the SDK looks for them', async () => {
    const { STORAGE_S3_ACCESS_KEY = '', STORAGE_S3_SECRET_KEY = '', ...rest } = good
    const inVariables = {
      AWS_ACCESS_KEY_ID: STORAGE_S3_ACCESS_KEY,
      AWS_SECRET_ACCESS_KEY: STORAGE_S3_SECRET_KEY,
    }
    expect((await run({ ...rest, ...inVariables })).code).toBe(0)
    const file = join(folder, 'credentials')
    const profile = `aws_access_key_id = ${STORAGE_S3_ACCESS_KEY}\naws_secret_access_key = ${STORAGE_S3_SECRET_KEY}\n`
    await writeFile(file, `[files]\n${profile}`)
    const inFile = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: 'files' }
    expect((await run({ ...rest, ...inFile })).code).toBe(0)
  })

  it.each<[what: string, wrong: Record<string, string>, says: RegExp]>([
    [
      'the secret key is wrong',
      { STORAGE_S3_SECRET_KEY: 'hunter2' },
      /STORAGE_S3_SECRET_KEY does not belong to/,
    ],
    [
      'the access key is unknown',
      { STORAGE_S3_ACCESS_KEY: 'nobody' },
      /does not know .*STORAGE_S3_ACCESS_KEY$/,
    ],
    ['the bucket is missing', { STORAGE_S3_BUCKET: 'missing' }, /no bucket "missing": .*STORAGE_S3_BUCKET$/],
    [
      'no bucket has such a name',
      { STORAGE_S3_BUCKET: 'a/b' },
      /^No bucket can be called "a\/b": .*STORAGE_S3_BUCKET$/,
    ],
    [
      'nothing listens there',
      { STORAGE_S3_ENDPOINT: 'http://127.0.0.1:1' },
      /^Nothing answers at .*STORAGE_S3_ENDPOINT/,
    ],
    [
      'there is no such host',
      { STORAGE_S3_ENDPOINT: `http://${'x'.repeat(64)}.invalid` },
      /^The host of the store is not known: correct STORAGE_S3_ENDPOINT/,
    ],
    [
      'TLS is spoken to it, which it does not know',
      { STORAGE_S3_ENDPOINT: s3.endpoint.replace('http:', 'https:') },
      /does not speak TLS: does STORAGE_S3_ENDPOINT begin with http:\/\//,
    ],
  ])('says that %s', async (_, wrong, says) => {
    const found = await lookAt({ ...good, ...wrong })
    expect(found).toEqual([failure('store', says)])
    expect(JSON.stringify(found)).not.toMatch(new RegExp(`hunter2|${s3.secretKey}`))
  })

  it('says that there are no credentials', async () => {
    const ended = await run({ ...good, STORAGE_S3_ACCESS_KEY: '', STORAGE_S3_SECRET_KEY: '' })
    expectFailure(ended, 'store', /^No credentials .*STORAGE_S3_ACCESS_KEY and STORAGE_S3_SECRET_KEY/)
  })

  it('is content with rights under the prefix alone', async () => {
    const env = await s3Env(s3)
    await denying(s3, `${env.STORAGE_S3_BUCKET}/.check*`, ['s3:PutObject'], async () => {
      const failed = async (settings: Record<string, string>) =>
        (await lookAt(settings)).filter(({ state }) => state === 'failed').map(({ about }) => about)
      expect(await failed({ ...env, STORAGE_S3_PREFIX: 'ours' })).toEqual([])
      expect(await failed(env)).toEqual(['store: write'])
    })
  })

  it('says that the bucket is in the endpoint too', async () => {
    const endpoint = `${s3.endpoint}/${good.STORAGE_S3_BUCKET}`
    const found = await lookAt({ ...good, STORAGE_S3_ENDPOINT: endpoint })
    expect(found).toEqual([failure('store', /in STORAGE_S3_ENDPOINT too\?$/)])
  })

  it.each([
    ['written', ['s3:PutObject'], ['write s3:PutObject']],
    ['read', ['s3:GetObject'], ['read s3:GetObject']],
    ['removed', ['s3:DeleteObject'], ['delete s3:DeleteObject']],
    ['gone on with', ['s3:ListMultipartUploadParts'], ['parts s3:ListMultipartUploadParts,']],
    [
      'listed or written',
      ['s3:ListBucket', 's3:ListBucketMultipartUploads', 's3:PutObject'],
      ['list s3:ListBucket', 'uploads s3:ListBucketMultipartUploads', 'write s3:PutObject'],
    ],
  ])('names the rights that are missing where nothing may be %s', async (_, denied, missing) => {
    const env = await s3Env(s3)
    await denying(s3, env.STORAGE_S3_BUCKET ?? '', denied, async () => {
      const found = await lookAt(env)
      expect(found[0]).toMatchObject({ about: 'store', state: 'ok' })
      expect(found.filter(({ state }) => state === 'failed')).toEqual(
        missing.map((text) => {
          const [name, right] = text.split(' ')
          return failure(`store: ${name}`, new RegExp(`^Denied: .* need the right ${right} `))
        }),
      )
    })
  })

  it('says that what is there is no S3 store', async () => {
    const other = await startTestServer()
    const found = await lookAt({ ...good, STORAGE_S3_ENDPOINT: other.url })
    expect(found).toEqual([failure('store', /is not an S3 store .*correct STORAGE_S3_ENDPOINT$/)])
    await other.close()
  })

  it('says that TLS is wanted there', async () => {
    const tls = createTlsServer().on('tlsClientError', () => {})
    await withListener(
      (socket) => tls.emit('connection', socket),
      async (port) => {
        const found = await lookAt({ ...good, STORAGE_S3_ENDPOINT: `http://127.0.0.1:${port}` })
        expect(found).toEqual([failure('store', /should STORAGE_S3_ENDPOINT begin with https:\/\/\?$/)])
      },
    )
  })

  it('ends when the store, or the place that gives credentials, never answers', async () => {
    await withListener(
      () => {},
      async (port) => {
        const silent = `http://127.0.0.1:${port}`
        const found = await lookAt({ ...good, STORAGE_S3_ENDPOINT: silent, STORAGE_S3_TIMEOUT: '1s' })
        expect(found).toEqual([failure('store', /did not answer in time: .*STORAGE_S3_TIMEOUT/)])
        const noCredentials = { ...good, STORAGE_S3_ACCESS_KEY: '', STORAGE_S3_SECRET_KEY: '' }
        const metadata = { AWS_EC2_METADATA_DISABLED: '', AWS_EC2_METADATA_SERVICE_ENDPOINT: silent }
        expectFailure(await run({ ...noCredentials, ...metadata }), 'store', /^No credentials for the store/)
      },
    )
  })

  it('says that the clock is wrong', async () => {
    const clock = `const { now } = Date; globalThis.Date = class extends Date {
      constructor(...time) { time.length ? super(...time) : super(now() + 3_600_000) }
      static now() { return now() + 3_600_000 }
    }`
    const ended = await run({
      ...good,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(clock)}`,
    })
    expectFailure(ended, 'store', /clock differs from the store's by more than 15 minutes/)
  })
})

describeWithS3('a server whose store refuses it', (s3) => {
  it('serves, and says at once in its log what is wrong', async () => {
    const env = { ...(await s3Env(s3)), STORAGE_S3_BUCKET: 'missing', STORAGE_PORT: '0' }
    const server = new Command(['serve'], { cwd: folder, env })
    try {
      const url = await server.url()
      await server.says('the store does not work: The store has no bucket \\"missing\\"')
      const health = await fetch(`${url}/health`)
      expect([health.status, await health.json()]).toEqual([
        503,
        expect.objectContaining({ backend: 'failing' }),
      ])
    } finally {
      await removeFolder(folder, [server])
    }
  })
})

/** Runs `work` while the bucket's policy denies these actions to all. @param on a bucket, or keys in it */
async function denying(s3: S3Access, on: string, Action: string[], work: () => Promise<void>): Promise<void> {
  const [Bucket = '', keys] = on.split('/')
  const Resource =
    keys === undefined ? [`arn:aws:s3:::${Bucket}`, `arn:aws:s3:::${Bucket}/*`] : `arn:aws:s3:::${on}`
  const Statement = [{ Effect: 'Deny', Principal: '*', Action, Resource }]
  const Policy = JSON.stringify({ Version: '2012-10-17', Statement })
  const client = s3Client(s3)
  await client.send(new PutBucketPolicyCommand({ Bucket, Policy }))
  try {
    await work()
  } finally {
    await client.send(new DeleteBucketPolicyCommand({ Bucket }))
    client.destroy()
  }
}

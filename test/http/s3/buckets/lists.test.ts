import { randomUUID } from 'node:crypto'
import {
  ListObjectsCommand,
  type ListObjectsCommandInput,
  type ListObjectsCommandOutput,
  ListObjectsV2Command,
  type ListObjectsV2CommandInput,
  type ListObjectsV2CommandOutput,
} from '@aws-sdk/client-s3'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keyModel } from '../../../support/list-model.ts'
import { withPolicies } from '../../../support/policies.ts'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server()
})
afterAll(() => server.close())

const METADATA = JSON.stringify({ size: 7, eTag: '"tag"' })
const MARKER = '.emptyFolderPlaceholder'

async function bucketOf(names: string[]): Promise<string> {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  await server.admin`
    insert into storage.objects (bucket_id, name, owner_id, metadata)
    select ${bucket}, unnest(${names}::text[]), 'somebody', ${METADATA}::text::jsonb`
  return bucket
}

const v1 = (Bucket: string, more: Partial<ListObjectsCommandInput> = {}) =>
  server.s3.send(new ListObjectsCommand({ Bucket, ...more }))
const v2 = (Bucket: string, more: Partial<ListObjectsV2CommandInput> = {}) =>
  server.s3.send(new ListObjectsV2Command({ Bucket, ...more }))

/** Keys and common prefixes in one order, as they are. */
function shown({
  Contents = [],
  CommonPrefixes = [],
}: ListObjectsCommandOutput | ListObjectsV2CommandOutput) {
  const keys = [...Contents.map(({ Key = '' }) => Key), ...CommonPrefixes.map(({ Prefix = '' }) => Prefix)]
  return keys.map(decodeURIComponent).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}

describe('a list of S3', () => {
  /** Without what makes no name: such rows are passed over, and no list of names has them. */
  const name = fc
    .array(
      fc.constantFrom('/', 'a', 'b', '-', '.', ' ', '+', '%', '&', '<', 'é', '\u{1f600}', `/${MARKER}`),
      {
        minLength: 1,
        maxLength: 6,
      },
    )
    .map((parts) => parts.join(''))
  const listing = fc.uniqueArray(name, { minLength: 1, maxLength: 12 }).chain((names) => {
    const cut = fc
      .constantFrom(...names)
      .chain((text) => fc.nat(4).map((n) => [...text].slice(0, n).join('')))
    return fc.record({
      names: fc.constant(names),
      Prefix: fc.oneof(fc.constant(''), cut),
      Delimiter: fc.constantFrom('', '/', '-', 'a', '/a', '<', '%', '+', 'é'),
      MaxKeys: fc.integer({ min: 1, max: 4 }),
      start: fc.oneof(fc.constant(''), cut),
      EncodingType: fc.constantFrom(undefined, 'url' as const),
    })
  })

  it('shows what the model shows, page by page, in both versions', async () => {
    const property = fc.asyncProperty(listing, async ({ names, start, Prefix, EncodingType, ...list }) => {
      const bucket = await bucketOf(names)
      const model = keyModel(names, Prefix, list.Delimiter, start)
      // Decoding what nobody has encoded would change it.
      const read = (page: ListObjectsV2CommandOutput | ListObjectsCommandOutput) =>
        EncodingType ? shown(page) : shown(encoded(page))
      for (const version of [1, 2]) {
        const found: string[] = []
        let marker: string | undefined = start
        let ContinuationToken: string | undefined
        for (let more = true; more; ) {
          const input = { ...list, Prefix, EncodingType }
          const page: ListObjectsV2CommandOutput & ListObjectsCommandOutput =
            version === 1
              ? await v1(bucket, { ...input, Marker: marker })
              : await v2(bucket, { ...input, StartAfter: start, ContinuationToken })
          const keys = read(page)
          found.push(...keys)
          more = page.IsTruncated === true
          expect(keys.length).toBe(more ? list.MaxKeys : keys.length)
          if (version === 2) {
            expect([page.KeyCount, page.MaxKeys]).toEqual([keys.length, list.MaxKeys])
            expect(page.NextContinuationToken !== undefined).toBe(more)
            ContinuationToken = page.NextContinuationToken
          } else {
            expect(page.NextMarker !== undefined).toBe(more && list.Delimiter !== '')
            marker = keys.at(-1)
            if (page.NextMarker !== undefined) {
              expect(EncodingType ? decodeURIComponent(page.NextMarker) : page.NextMarker).toBe(marker)
            }
          }
        }
        expect([version, found]).toEqual([version, model])
      }
    })
    await fc.assert(property, { numRuns: 25 })
  })

  it('says of each key what its row says', async () => {
    const bucket = await bucketOf(['a b', 'folder/c'])
    const { Contents, CommonPrefixes, ...head } = await v2(bucket, { Delimiter: '/', FetchOwner: true })
    expect(Contents).toEqual([
      {
        Key: 'a b',
        ETag: '"tag"',
        Size: 7,
        LastModified: expect.any(Date),
        Owner: { ID: 'somebody', DisplayName: 'somebody' },
        StorageClass: 'STANDARD',
      },
    ])
    expect(CommonPrefixes).toEqual([{ Prefix: 'folder/' }])
    expect(head).toMatchObject({
      Name: bucket,
      Prefix: '',
      Delimiter: '/',
      MaxKeys: 1000,
      KeyCount: 2,
      IsTruncated: false,
    })
    expect((await v2(bucket)).Contents?.[0]?.Owner).toBeUndefined()
    expect((await v1(bucket)).Contents?.[0]?.Owner?.ID).toBe('somebody')
    expect(await v1(bucket, { Marker: 'b', Prefix: 'f' })).toMatchObject({ Marker: 'b', Prefix: 'f' })
    expect(await v2(bucket, { StartAfter: 'b' })).toMatchObject({ StartAfter: 'b', KeyCount: 1 })
  })

  it('shows rows of plain SQL, whatever they hold', async () => {
    const bucket = await bucketOf(['a', 'b', `c/${MARKER}`, 'd'])
    const values = ['7', '[1]', '{"size": "large", "eTag": 5, "parts": [1]}', null]
    for (const [index, name] of ['a', 'b', `c/${MARKER}`, 'd'].entries()) {
      await server.admin`
        update storage.objects set metadata = ${values[index] ?? null}::text::jsonb, owner_id = null, updated_at = null
        where bucket_id = ${bucket} and name = ${name}`
    }
    for (const list of [v1, v2]) {
      const { Contents } = await list(bucket)
      expect(Contents?.map(({ Key, Size }) => [Key, Size])).toEqual([
        ['a', 0],
        ['b', 0],
        ['c/', 0],
        ['d', 0],
      ])
    }
  })

  it('shows nothing for max-keys=0, and a thousand for more', async () => {
    const bucket = await bucketOf(Array.from({ length: 1001 }, (_, n) => `${n}`))
    for (const list of [v1, v2]) {
      expect(await list(bucket, { MaxKeys: 0 })).toMatchObject({ IsTruncated: false, MaxKeys: 0 })
      expect((await list(bucket, { MaxKeys: 0 })).Contents).toBeUndefined()
      const most = await list(bucket, { MaxKeys: 5000 })
      expect([most.Contents?.length, most.MaxKeys, most.IsTruncated]).toEqual([1000, 1000, true])
    }
  })

  it('writes keys as in a URL for who asks so', async () => {
    const keys = ["a+b c%20&<>'(!)*é~_-.", 'x/ü']
    const bucket = await bucketOf(keys)
    const list = await v2(bucket, { EncodingType: 'url', Prefix: '', Delimiter: '/', StartAfter: ' ' })
    expect(list.Contents?.[0]?.Key).toBe('a%2Bb%20c%2520%26%3C%3E%27%28%21%29%2A%C3%A9~_-.')
    expect([list.EncodingType, list.Delimiter, list.StartAfter]).toEqual(['url', '/', '%20'])
    expect(list.CommonPrefixes).toEqual([{ Prefix: 'x/' }])
    expect((await v2(bucket)).Contents?.map(({ Key }) => Key)).toEqual(keys)
  })

  it.each([
    ['max-keys=-1', 'InvalidArgument'],
    ['max-keys=many', 'InvalidArgument'],
    ['max-keys=1.5', 'InvalidArgument'],
    ['encoding-type=base64', 'InvalidArgument'],
    ['list-type=2&continuation-token=', 'InvalidArgument'],
    ['list-type=2&continuation-token=YWZ0ZXI6YQ%3D%3D', 'InvalidArgument'],
    ['list-type=2&continuation-token=bm90IG91cnM', 'InvalidArgument'],
    ['prefix=%00', 'InvalidArgument'],
    ['prefix=%ff', 'InvalidRequest'],
    ['a marker of 5000 letters', 'InvalidArgument', `marker=${'m'.repeat(5000)}`],
  ])('refuses %s', async (what, code, query = what) => {
    const bucket = await bucketOf(['a'])
    const response = await server.send('GET', `/${bucket}?${query}`)
    expect([response.status, await response.text()]).toEqual([
      400,
      expect.stringContaining(`<Code>${code}</Code>`),
    ])
  })

  it('is of a bucket', async () => {
    for (const list of [v1, v2]) expect(await refusal(list('absent'))).toEqual([404, 'NoSuchBucket'])
  })

  it('shows a user of a session what policies let him see, as REST does', async () => {
    const bucket = await bucketOf(['mine/a', 'mine/b', 'others/c', `others/${MARKER}`, `mine/${MARKER}`])
    const session = await server.session('somebody')
    const client = server.client(session)
    const policy = `create policy "mine" on storage.objects for select to authenticated
      using (bucket_id = '${bucket}' and name like 'mine/%'
        and current_setting('storage.operation') in ('storage.s3.object.list', 'storage.object.list_v2'))`
    await withPolicies(server.admin, policy, async () => {
      const list = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
      expect(list.Contents?.map(({ Key }) => Key)).toEqual(['mine/', 'mine/a', 'mine/b'])
      const folders = await client.send(new ListObjectsV2Command({ Bucket: bucket, Delimiter: '/' }))
      expect(folders.CommonPrefixes).toEqual([{ Prefix: 'mine/' }])
      const rest = await server.request('POST', `/storage/v1/object/list-v2/${bucket}`, {
        token: session.sessionToken ?? null,
        body: {},
      })
      const { objects } = (await rest.json()) as { objects: { name: string }[] }
      expect(objects.map(({ name }) => name)).toEqual([`mine/${MARKER}`, 'mine/a', 'mine/b'])
    })
  })
})

/** So that decoding leaves what was not encoded. */
function encoded<T extends ListObjectsCommandOutput | ListObjectsV2CommandOutput>(page: T): T {
  return {
    ...page,
    Contents: page.Contents?.map((entry) => ({ ...entry, Key: encodeURIComponent(entry.Key ?? '') })),
    CommonPrefixes: page.CommonPrefixes?.map(({ Prefix = '' }) => ({ Prefix: encodeURIComponent(Prefix) })),
  }
}

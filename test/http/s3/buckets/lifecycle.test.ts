import { randomUUID } from 'node:crypto'
import {
  DeleteBucketLifecycleCommand,
  GetBucketLifecycleConfigurationCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../../../support/policies.ts'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'

let server: S3TestServer
let Bucket: string
beforeAll(async () => {
  server = await startS3Server()
})
beforeEach(async () => {
  Bucket = `b-${randomUUID()}`
  await server.createBucket(Bucket)
})
afterAll(() => server.close())

const put = (...Rules: LifecycleRule[]) =>
  server.s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }))

const told = async () => (await server.s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }))).Rules

const sent = async (xml: string) => {
  const body = `<LifecycleConfiguration>${xml}</LifecycleConfiguration>`
  const answer = await server.send('PUT', `/${Bucket}?lifecycle`, { body })
  const text = await answer.text()
  return [answer.status, /<Code>(\w+)</.exec(text)?.[1]]
}

const EXPIRES = { Expiration: { Days: 3 } }
const rule = (ID: string, more: Partial<LifecycleRule> = EXPIRES): LifecycleRule => ({
  ID,
  Status: 'Enabled',
  Filter: { Prefix: '' },
  ...more,
})

describe("a bucket's lifecycle by S3", () => {
  it('is put, told as it was put, and deleted', async () => {
    const Tags = [
      { Key: 'kind', Value: 'draft' },
      { Key: 'tmp', Value: '' },
    ]
    const rules = [
      rule('all', {
        Expiration: { Days: 30 },
        NoncurrentVersionExpiration: { NoncurrentDays: 7, NewerNoncurrentVersions: 3 },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
      }),
      rule('date', { Filter: { Prefix: 'logs/' }, Expiration: { Date: new Date('2027-01-31') } }),
      rule('markers', { Status: 'Disabled', Expiration: { ExpiredObjectDeleteMarker: true } }),
      rule('tag', { ...EXPIRES, Filter: { Tag: { Key: 'a', Value: 'b' } } }),
      rule('size', { ...EXPIRES, Filter: { ObjectSizeGreaterThan: 100 } }),
      rule('and', {
        ...EXPIRES,
        Filter: { And: { Prefix: 'a/', Tags, ObjectSizeGreaterThan: 0, ObjectSizeLessThan: 10 } },
      }),
    ]
    const { $metadata } = await put(...rules)
    expect($metadata.httpStatusCode).toBe(200)
    expect(await told()).toEqual(rules)
    const gone = await server.s3.send(new DeleteBucketLifecycleCommand({ Bucket }))
    expect(gone.$metadata.httpStatusCode).toBe(204)
    await server.s3.send(new DeleteBucketLifecycleCommand({ Bucket }))
    expect(await refusal(told())).toEqual([404, 'NoSuchLifecycleConfiguration'])
  })

  it('gives a rule an id that has none, and takes the Prefix of old', async () => {
    await put({ Status: 'Enabled', Prefix: 'old/', Expiration: { Days: 1 } } as LifecycleRule)
    expect(await told()).toEqual([
      {
        ID: expect.stringMatching(/^rule-[0-9a-f]{64}$/),
        Status: 'Enabled',
        Filter: { Prefix: 'old/' },
        Expiration: { Days: 1 },
      },
    ])
  })

  it('is the policy that REST has: what S3 cannot say stays, and is not told', async () => {
    const ask = async (method: string, path: string, body?: object) => {
      const answer = await server.request(method, `/storage/v1${path}`, body && { body })
      expect(answer.ok).toBe(true)
      return (await answer.json()) as { id: string; rules: { id: string; action: string }[] }
    }
    const { id } = await ask('POST', '/lifecycle', {
      name: 'rest',
      bucket: Bucket,
      rules: [
        { id: 'trash', action: 'purge_trash', after_days: 3 },
        { id: 'said', action: 'delete', after_days: 3, based_on: 'updated_at', filter: { min_size: 5 } },
        { id: 'made', action: 'delete', after_days: 3 },
      ],
    })
    expect(await told()).toEqual([rule('said', { ...EXPIRES, Filter: { ObjectSizeGreaterThan: 4 } })])
    expect(await refusal(put(rule('trash')))).toEqual([400, 'InvalidRequest'])
    const versions = { NoncurrentVersionExpiration: { NoncurrentDays: 2 } }
    await put(rule('new', { ...EXPIRES, ...versions }), rule('versions', versions))
    const { rules } = await ask('GET', `/lifecycle/${id}`)
    expect(rules.map((one) => `${one.id} ${one.action}`)).toEqual([
      'new delete',
      'new delete_old_versions',
      'versions delete_old_versions',
      'trash purge_trash',
      'made delete',
    ])
    expect((await ask('GET', `/bucket/${Bucket}/lifecycle`)).rules).toEqual([
      { id: 'versions', status: 'Enabled', filter: {}, noncurrentVersionExpiration: { noncurrentDays: 2 } },
    ])
    await server.s3.send(new DeleteBucketLifecycleCommand({ Bucket }))
    expect((await ask('GET', `/lifecycle/${id}`)).rules.map((one) => one.id)).toEqual(['trash', 'made'])
  })

  it('needs SELECT on the bucket, and UPDATE to be changed', async () => {
    await put(rule('kept'))
    const s3 = server.client(await server.session('7d3e1f6e-0000-4000-8000-00000000000a'))
    const all = async () => [
      await refusal(s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }))).catch(() => 'told'),
      await refusal(s3.send(new DeleteBucketLifecycleCommand({ Bucket }))).catch(() => 'deleted'),
    ]
    expect(await all()).toEqual([
      [404, 'NoSuchBucket'],
      [404, 'NoSuchBucket'],
    ])
    const seen = 'create policy seen on storage.buckets for select to authenticated using (true);'
    expect(await withPolicies(server.admin, seen, all)).toEqual(['told', [403, 'AccessDenied']])
    expect(await told()).toEqual([rule('kept')])
    const changed = `${seen} create policy changed on storage.buckets for update to authenticated using (true)`
    expect(await withPolicies(server.admin, changed, all)).toEqual(['told', 'deleted'])
  })

  const inRule = (inner: string) => `<Rule><Status>Enabled</Status>${inner}</Rule>`
  const DAYS = '<Expiration><Days>1</Days></Expiration>'
  const filtered = (filter: string, actions = DAYS) => inRule(`<Filter>${filter}</Filter>${actions}`)
  const tag = (key: string) => `<Tag><Key>${key}</Key><Value>v</Value></Tag>`
  const MARKERS = '<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>'
  const ABORT =
    '<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>'
  const TRANSITION = '<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>'

  it.each([
    ['no rule', '', 'MalformedXML'],
    ['1001 rules', filtered('').repeat(1001), 'MalformedXML'],
    ['neither Filter nor Prefix', inRule(DAYS), 'MalformedXML'],
    ['both', inRule(`<Filter/><Prefix/>${DAYS}`), 'MalformedXML'],
    ['two conditions without And', filtered(`<Prefix>a</Prefix>${tag('a')}`), 'MalformedXML'],
    ['an And of one', filtered('<And><Prefix>a</Prefix></And>'), 'MalformedXML'],
    ['another status', filtered('').replace('Enabled', 'enabled'), 'MalformedXML'],
    ['what there is not', filtered('', `${DAYS}<Unknown/>`), 'MalformedXML'],
    [
      'days and a date',
      filtered('', '<Expiration><Days>1</Days><Date>2027-01-01</Date></Expiration>'),
      'MalformedXML',
    ],
    ['days that are none', filtered('', '<Expiration><Days>one</Days></Expiration>'), 'MalformedXML'],
    ['versions without days', filtered('', '<NoncurrentVersionExpiration/>'), 'MalformedXML'],
    ['no days', filtered('', '<Expiration><Days>0</Days></Expiration>'), 'InvalidArgument'],
    ['a time', filtered('', '<Expiration><Date>2027-01-01T10:00:00Z</Date></Expiration>'), 'InvalidArgument'],
    [
      'one id twice',
      `${filtered('')}${filtered('')}`.replaceAll('<Rule>', '<Rule><ID>a</ID>'),
      'InvalidArgument',
    ],
    ['a long id', filtered('').replace('<Rule>', `<Rule><ID>${'x'.repeat(256)}</ID>`), 'InvalidArgument'],
    ['no action', filtered('', ''), 'InvalidRequest'],
    ['markers by a tag', filtered(tag('a'), MARKERS), 'InvalidRequest'],
    ['uploads by size', filtered('<ObjectSizeLessThan>5</ObjectSizeLessThan>', ABORT), 'InvalidRequest'],
    [
      'no size',
      filtered(
        '<And><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan><ObjectSizeLessThan>5</ObjectSizeLessThan></And>',
      ),
      'InvalidRequest',
    ],
    ['one tag twice', filtered(`<And>${tag('a')}${tag('a')}</And>`), 'InvalidTag'],
    [
      'eleven tags',
      filtered(`<And>${Array.from({ length: 11 }, (_, i) => tag(`t${i}`)).join('')}</And>`),
      'InvalidTag',
    ],
    ['a storage class', filtered('', `${DAYS}${TRANSITION}`), 'InvalidStorageClass'],
  ])('is refused with %s', async (_, xml, code) => {
    expect(await sent(xml)).toEqual([400, code])
  })

  it('takes a thousand rules, and tells them', async () => {
    expect(
      await sent(Array.from({ length: 1000 }, (_, i) => filtered(`<Prefix>p${i}/</Prefix>`)).join('')),
    ).toEqual([200, undefined])
    const rules = await told()
    expect([rules?.length, rules?.[999]?.Filter]).toEqual([1000, { Prefix: 'p999/' }])
  })
})

import {
  CreateBucketCommand,
  DeleteBucketCommand,
  GetBucketAclCommand,
  GetBucketLocationCommand,
  GetBucketLoggingCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketRequestPaymentCommand,
  GetBucketVersioningCommand,
  GetObjectAclCommand,
  HeadBucketCommand,
  ListBucketAnalyticsConfigurationsCommand,
  ListBucketsCommand,
  type ListBucketsCommandOutput,
  PutBucketAclCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { refusal } from '../../../support/s3-errors.ts'
import { type S3TestServer, startS3Server } from '../../../support/s3-protocol.ts'

const EVERYBODY = 'http://acs.amazonaws.com/groups/global/AllUsers'
const SIGNED_IN = 'http://acs.amazonaws.com/groups/global/AuthenticatedUsers'
const ANN = '7d3e1f6e-0000-4000-8000-00000000000a'

let server: S3TestServer
beforeAll(async () => {
  server = await startS3Server({ STORAGE_USER_BUCKETS: 'true' })
})
afterAll(() => server.close())

const create = (Bucket: string, more = {}) => server.s3.send(new CreateBucketCommand({ Bucket, ...more }))
const grantsOf = async (Bucket: string) => {
  const { Grants } = await server.s3.send(new GetBucketAclCommand({ Bucket }))
  return Grants?.slice(1).map(({ Grantee, Permission }) => [Grantee?.URI, Permission])
}

describe('a bucket by S3', () => {
  it('is made, found and deleted, and REST has the same one', async () => {
    expect(await create('made-by-s3')).toMatchObject({ Location: '/made-by-s3' })
    expect(await server.s3.send(new HeadBucketCommand({ Bucket: 'made-by-s3' }))).toMatchObject({
      BucketRegion: 'us-east-1',
    })
    const rest = await server.request('GET', '/storage/v1/bucket/made-by-s3')
    expect(await rest.json()).toMatchObject({ id: 'made-by-s3', public: false })
    expect(await refusal(create('made-by-s3'))).toEqual([409, 'BucketAlreadyExists'])
    const { $metadata } = await server.s3.send(new DeleteBucketCommand({ Bucket: 'made-by-s3' }))
    expect($metadata.httpStatusCode).toBe(204)
    expect(await refusal(server.s3.send(new HeadBucketCommand({ Bucket: 'made-by-s3' })))).toEqual([
      404,
      'NotFound',
    ])
    expect(await refusal(server.s3.send(new DeleteBucketCommand({ Bucket: 'made-by-s3' })))).toEqual([
      404,
      'NoSuchBucket',
    ])
  })

  it('is not deleted while something is in it', async () => {
    await create('full')
    await server.request('POST', '/storage/v1/object/full/a', { body: 'x' })
    expect(await refusal(server.s3.send(new DeleteBucketCommand({ Bucket: 'full' })))).toEqual([
      409,
      'BucketNotEmpty',
    ])
  })

  it('has a name that is a bucket’s here, too', async () => {
    const response = await server.send('PUT', '/a%2Fb')
    expect([response.status, await response.text()]).toEqual([
      400,
      expect.stringContaining('<Code>InvalidBucketName</Code>'),
    ])
  })

  it('is asked for where it is', async () => {
    await create('placed', { CreateBucketConfiguration: { LocationConstraint: 'eu-west-1' } })
    const { LocationConstraint } = await server.s3.send(new GetBucketLocationCommand({ Bucket: 'placed' }))
    expect(LocationConstraint).toBeUndefined() // as S3 says us-east-1
  })
})

describe('buckets by S3', () => {
  it('are listed in order, a prefix of them, page by page', async () => {
    for (const name of ['list-b', 'list-a', 'list-B', 'list-c']) await server.createBucket(name)
    const wanted = ['list-B', 'list-a', 'list-b', 'list-c']
    const names: (string | undefined)[] = []
    let ContinuationToken: string | undefined
    do {
      const page: ListBucketsCommandOutput = await server.s3.send(
        new ListBucketsCommand({ Prefix: 'list-', MaxBuckets: 3, ContinuationToken }),
      )
      names.push(...(page.Buckets ?? []).map(({ Name }) => Name))
      ContinuationToken = page.ContinuationToken
    } while (ContinuationToken !== undefined)
    expect(names).toEqual(wanted)
    const bad = server.s3.send(new ListBucketsCommand({ ContinuationToken: 'bm90aGluZw' }))
    expect(await refusal(bad)).toEqual([400, 'InvalidArgument'])
    const elsewhere = await server.s3.send(new ListBucketsCommand({ BucketRegion: 'eu-west-1' }))
    expect(elsewhere.Buckets ?? []).toEqual([])
  })

  it('are those that the caller may see, with who made them', async () => {
    const client = server.client(await server.session(ANN))
    await client.send(new CreateBucketCommand({ Bucket: 'anns' }))
    const { Buckets, Owner } = await client.send(new ListBucketsCommand())
    expect(Buckets?.map(({ Name }) => Name)).toEqual(['anns'])
    expect(Owner?.ID).toBe(ANN)
    expect((await client.send(new GetBucketAclCommand({ Bucket: 'anns' }))).Owner?.ID).toBe(ANN)
    await server.createBucket('not-anns')
    const hidden = { Bucket: 'not-anns' }
    expect(await refusal(client.send(new HeadBucketCommand(hidden)))).toEqual([404, 'NotFound'])
    expect(await refusal(client.send(new GetBucketAclCommand(hidden)))).toEqual([404, 'NoSuchBucket'])
    expect(await refusal(client.send(new DeleteBucketCommand(hidden)))).toEqual([404, 'NoSuchBucket'])
    // Tools go on from what is no secret.
    expect((await client.send(new GetBucketLocationCommand(hidden))).$metadata.httpStatusCode).toBe(200)
  })
})

describe('the ACL of a bucket', () => {
  it('is what its policy means, and what is in it', async () => {
    await create('acl-public', { ACL: 'public-read' })
    await server.createBucket('acl-private')
    await server.createBucket('acl-signed-in', { policy: 'authenticated' })
    const both = [
      [SIGNED_IN, 'READ'],
      [SIGNED_IN, 'WRITE'],
    ]
    for (const [bucket, grants] of [
      ['acl-public', [[EVERYBODY, 'READ']]],
      ['acl-private', []],
      ['acl-signed-in', both],
    ] as const) {
      expect(await grantsOf(bucket)).toEqual(grants)
      await server.request('POST', `/storage/v1/object/${bucket}/a`, { body: 'x' })
      const { Grants, Owner } = await server.s3.send(new GetObjectAclCommand({ Bucket: bucket, Key: 'a' }))
      expect(Owner?.ID).toBe('service_role')
      expect(Grants?.[0]).toMatchObject({
        Grantee: { ID: 'service_role', Type: 'CanonicalUser' },
        Permission: 'FULL_CONTROL',
      })
      expect(Grants?.slice(1).map(({ Grantee, Permission }) => [Grantee?.URI, Permission])).toEqual(grants)
    }
    const anybody = await fetch(`${server.url}/storage/v1/object/public/acl-public/a`)
    expect(anybody.status).toBe(200)
    const missing = server.s3.send(new GetObjectAclCommand({ Bucket: 'acl-public', Key: 'b' }))
    expect(await refusal(missing)).toEqual([404, 'NoSuchKey'])
  })

  it('is set to one of the two that it can be, canned or as grants', async () => {
    await create('acl-set')
    const put = (more: object) =>
      server.s3.send(new PutBucketAclCommand({ Bucket: 'acl-set', ...more } as never))
    await put({ ACL: 'public-read' })
    expect(await grantsOf('acl-set')).toEqual([[EVERYBODY, 'READ']])
    await put({ ACL: 'private' })
    expect(await grantsOf('acl-set')).toEqual([])
    const { Grants = [], Owner } = await server.s3.send(new GetBucketAclCommand({ Bucket: 'acl-set' }))
    const everybody = { Grantee: { Type: 'Group' as const, URI: EVERYBODY }, Permission: 'READ' as const }
    await put({ AccessControlPolicy: { Owner, Grants: [...Grants, everybody] } })
    expect(await grantsOf('acl-set')).toEqual([[EVERYBODY, 'READ']])
    await put({ AccessControlPolicy: { Owner, Grants } })
    expect(await grantsOf('acl-set')).toEqual([])

    const write = { ...everybody, Permission: 'WRITE' as const }
    for (const more of [
      { ACL: 'public-read-write' },
      { ACL: 'authenticated-read' },
      { ACL: 'constructor' },
      { GrantRead: `uri="${EVERYBODY}"` },
      { AccessControlPolicy: { Owner, Grants: [...Grants, write] } },
    ]) {
      expect(await refusal(put(more))).toEqual([501, 'NotImplemented'])
    }
    expect(await grantsOf('acl-set')).toEqual([])
    expect(await refusal(create('acl-refused', { ACL: 'public-read-write' }))).toEqual([
      501,
      'NotImplemented',
    ])
  })
})

describe('what is configured of a bucket', () => {
  it.each([
    ['cors', 'NoSuchCORSConfiguration'],
    ['encryption', 'ServerSideEncryptionConfigurationNotFoundError'],
    ['ownershipControls', 'OwnershipControlsNotFoundError'],
    ['policy', 'NoSuchBucketPolicy'],
    ['policyStatus', 'NoSuchBucketPolicy'],
    ['publicAccessBlock', 'NoSuchPublicAccessBlockConfiguration'],
    ['replication', 'ReplicationConfigurationNotFoundError'],
    ['tagging', 'NoSuchTagSet'],
    ['website', 'NoSuchWebsiteConfiguration'],
    ['analytics&id=a', 'NoSuchConfiguration'],
  ])('is nothing: %s', async (parameter, code) => {
    await server.createBucket('plain').catch(() => {})
    const response = await server.send('GET', `/plain?${parameter}`)
    const text = await response.text()
    expect([response.status, text]).toEqual([404, expect.stringContaining(`<Code>${code}</Code>`)])
    expect(text).toContain('<Resource>/plain</Resource>')
    expect((await server.send('GET', `/absent?${parameter}`)).status).toBe(404)
    for (const method of ['PUT', 'DELETE']) {
      const change = await server.send(method, `/plain?${parameter}`)
      expect([change.status, await change.text()]).toEqual([
        501,
        expect.stringContaining('<Code>NotImplemented</Code>'),
      ])
    }
  })

  it('is what S3 says of a bucket that nobody has configured', async () => {
    const bucket = { Bucket: 'plain' }
    await server.createBucket('plain').catch(() => {})
    const { Status, MFADelete } = await server.s3.send(new GetBucketVersioningCommand(bucket))
    expect([Status, MFADelete]).toEqual([undefined, undefined])
    expect((await server.s3.send(new GetBucketRequestPaymentCommand(bucket))).Payer).toBe('BucketOwner')
    expect((await server.s3.send(new GetBucketLoggingCommand(bucket))).LoggingEnabled).toBeUndefined()
    const notified = await server.s3.send(new GetBucketNotificationConfigurationCommand(bucket))
    expect(notified.QueueConfigurations).toBeUndefined()
    const lists = await server.s3.send(new ListBucketAnalyticsConfigurationsCommand(bucket))
    expect(lists.IsTruncated).toBe(false)
    for (const parameter of ['accelerate', 'inventory', 'metrics', 'intelligent-tiering']) {
      expect((await server.send('GET', `/plain?${parameter}`)).status).toBe(200)
    }
  })
})

import {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  RenameObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chunk, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { refusal } from '../../support/s3-errors.ts'
import { keyPath, type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { chunkedBody, signRequest } from '../../support/s3-signer.ts'
import { expectNoDrift } from '../../support/traces.ts'

/** Documents beyond 2 MiB, and keys beyond 1024 bytes: refused wherever they come. */

const place = { Bucket: 'box', Key: 'there' }

let server: S3TestServer
let uploadId: string
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('box')
  await server.s3.send(new PutObjectCommand({ ...place, Body: 'hello', Tagging: 'a=b' }))
  const { UploadId = '' } = await server.s3.send(new CreateMultipartUploadCommand(place))
  await server.s3.send(new UploadPartCommand({ ...place, UploadId, PartNumber: 1, Body: 'part' }))
  uploadId = UploadId
})
afterAll(async () => {
  await server.s3.send(new AbortMultipartUploadCommand({ ...place, UploadId: uploadId }))
  await expectNoDrift(server)
  await server.close()
})

describe.each<[what: string, method: 'POST' | 'PUT', target: () => string, document: string]>([
  ['DeleteObjects', 'POST', () => '/box?delete', '<Delete><Object><Key>there</Key></Object></Delete>'],
  [
    'CompleteMultipartUpload',
    'POST',
    () => `/box/there?uploadId=${uploadId}`,
    '<CompleteMultipartUpload></CompleteMultipartUpload>',
  ],
  [
    'PutObjectTagging',
    'PUT',
    () => '/box/there?tagging',
    '<Tagging><TagSet><Tag><Key>c</Key><Value>d</Value></Tag></TagSet></Tagging>',
  ],
  [
    'PutBucketAcl',
    'PUT',
    () => '/box?acl',
    '<AccessControlPolicy><AccessControlList></AccessControlList></AccessControlPolicy>',
  ],
])('a document of %s beyond 2 MiB', (_what, method, target, document) => {
  const body = document.replace('><', `>${' '.repeat(2 * 1024 * 1024)}<`)
  const request = () => ({ method, url: `${server.endpoint}${target()}`, body })

  it.each<[framing: string, framed: () => { headers: Record<string, string>; bytes: string | Buffer }]>([
    ['whose length is known', () => ({ headers: signRequest(request(), server.keys3), bytes: body })],
    [
      'of unknown length',
      () => ({
        headers: {
          ...signRequest(request(), server.keys3),
          'transfer-encoding': 'chunked',
        },
        bytes: Buffer.concat([chunk(body), chunk('')]),
      }),
    ],
    [
      'in S3’s chunks',
      () => {
        const { headers, body: bytes } = chunkedBody(request(), server.keys3, { chunkSize: 65_536 })
        return { headers, bytes }
      },
    ],
  ])('%s is 413, does nothing, and its connection goes on', async (_framing, framed) => {
    const { headers, bytes } = framed()
    const { host, pathname, search } = new URL(request().url)
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
    const connection = await RawConnection.open(server.url)
    try {
      await connection.send(rawRequest(method, `${pathname}${search}`, [`Host: ${host}`, ...lines], bytes))
      const answer = await connection.response()
      expect([answer.status, answer.body.toString()]).toEqual([
        413,
        expect.stringContaining('<Code>EntityTooLarge</Code>'),
      ])
      await connection.send(rawRequest('GET', '/status'))
      expect((await connection.response()).status).toBe(200)
    } finally {
      connection.abort()
    }
  })
})

it('what such documents were about is as it was', async () => {
  expect(await names()).toEqual(['there'])
  const { TagSet } = await server.s3.send(new GetObjectTaggingCommand(place))
  expect(TagSet).toEqual([{ Key: 'a', Value: 'b' }])
  const { Parts } = await server.s3.send(new ListPartsCommand({ ...place, UploadId: uploadId }))
  expect(Parts).toHaveLength(1)
  const { Grants } = await server.s3.send(new GetBucketAclCommand({ Bucket: 'box' }))
  expect(Grants).toHaveLength(1)
})

async function names(): Promise<string[]> {
  const rows = await server.admin`select name from storage.objects order by name`
  return rows.map(({ name }) => name)
}

describe.each([
  ['ASCII', 'k'.repeat(1024)],
  ['two bytes each', 'ä'.repeat(512)],
])('a key of %s', (_what, longest) => {
  const long = `${longest}k`
  const Bucket = 'box'

  it('of 1024 bytes is one like any other', async () => {
    await server.s3.send(new PutObjectCommand({ Bucket, Key: longest, Body: 'hello' }))
    const CopySource = `${Bucket}/${keyPath(longest)}`
    await server.s3.send(new CopyObjectCommand({ Bucket, Key: 'copied', CopySource }))
    await server.s3.send(new RenameObjectCommand({ Bucket, Key: longest, RenameSource: 'copied' }))
    const { Body } = await server.s3.send(new GetObjectCommand({ Bucket, Key: longest }))
    expect(await Body?.transformToString()).toBe('hello')
    const Delete = { Objects: [{ Key: longest }] }
    const { Deleted } = await server.s3.send(new DeleteObjectsCommand({ Bucket, Delete }))
    expect(Deleted).toEqual([{ Key: longest }])
  })

  it.each<[what: string, send: () => Promise<unknown>]>([
    ['PutObject', () => server.s3.send(new PutObjectCommand({ Bucket, Key: long, Body: 'x' }))],
    [
      'CopyObject',
      () => server.s3.send(new CopyObjectCommand({ Bucket, Key: long, CopySource: 'box/there' })),
    ],
    [
      'RenameObject',
      () => server.s3.send(new RenameObjectCommand({ Bucket, Key: long, RenameSource: 'there' })),
    ],
    ['CreateMultipartUpload', () => server.s3.send(new CreateMultipartUploadCommand({ Bucket, Key: long }))],
  ])('of 1025 bytes is not made by %s', async (_operation, send) => {
    expect(await refusal(send())).toEqual([400, 'InvalidArgument'])
    expect(await names()).toEqual(['there'])
  })

  it('of 1025 bytes is not there, nor to be changed', async () => {
    const at = { Bucket, Key: long }
    const [copyOf, renameOf] = [
      new CopyObjectCommand({ Bucket, Key: 'new', CopySource: `box/${keyPath(long)}` }),
      new RenameObjectCommand({ Bucket, Key: 'new', RenameSource: keyPath(long) }),
    ]
    expect(await refusal(server.s3.send(new GetObjectCommand(at)))).toEqual([404, 'NoSuchKey'])
    expect(await refusal(server.s3.send(new HeadObjectCommand(at)))).toEqual([404, 'NotFound'])
    expect(await refusal(server.s3.send(copyOf))).toEqual([404, 'NoSuchKey'])
    expect(await refusal(server.s3.send(renameOf))).toEqual([404, 'NoSuchKey'])
    const tagging = new PutObjectTaggingCommand({ ...at, Tagging: { TagSet: [] } })
    expect(await refusal(server.s3.send(tagging))).toEqual([400, 'InvalidArgument'])
    expect(await refusal(server.s3.send(new DeleteObjectCommand(at)))).toEqual([400, 'InvalidArgument'])
    expect(await names()).toEqual(['there'])
  })
})

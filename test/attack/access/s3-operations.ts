import { randomUUID } from 'node:crypto'
import type { S3RequestInit } from '../../support/s3-protocol.ts'
import { overwritten } from './former-operations.ts'
import { type Cell, NAME, SECRET } from './world.ts'

/** A signed request of the caller's. */
export type S3Ask = (method: string, target: string, init?: S3RequestInit) => Promise<Response>

interface S3Operation {
  /** The row of the table that it stands beside. */
  like: string
  ask(cell: Cell, ask: S3Ask, made: string): Promise<Response>
  /** Makes of the cell what is asked for; what it returns comes to `ask`. */
  before?(cell: Cell): Promise<string>
  /** What a body has that shows something. */
  shows?: (cell: Cell) => string
  /** Where S3's answer is another one than the table's: a status, or `empty`. */
  answers?: Record<string, string>
}

const deletion = (key: string) => `<Delete><Object><Key>${key}</Key></Object></Delete>`
const copyOf = ({ object }: Cell) => ({ headers: { 'x-amz-copy-source': `/${object}` } })
const secret = () => SECRET

/** What can be asked for by S3, beside what asks for the same by REST. */
export const S3_OPERATIONS: Record<string, S3Operation> = {
  'PutObject of a new one': {
    like: 'upload',
    ask: ({ bucket }, ask) => ask('PUT', `/${bucket}/album/new.txt`, { body: 'new' }),
  },
  'PutObject over one': {
    like: 'upload over one',
    ask: ({ object }, ask) => ask('PUT', `/${object}`, { body: 'other' }),
  },
  GetObject: {
    like: 'get, authenticated',
    ask: ({ object }, ask) => ask('GET', `/${object}`),
    shows: secret,
  },
  HeadObject: {
    like: 'info, authenticated',
    ask: ({ object }, ask) => ask('HEAD', `/${object}`),
  },
  GetObjectTagging: {
    like: 'info, authenticated',
    ask: ({ object }, ask) => ask('GET', `/${object}?tagging`),
  },
  GetObjectAttributes: {
    like: 'info, authenticated',
    ask: ({ object }, ask) =>
      ask('GET', `/${object}?attributes`, { headers: { 'x-amz-object-attributes': 'ObjectSize' } }),
  },
  ListObjects: {
    like: 'list, v2',
    ask: ({ bucket }, ask) => ask('GET', `/${bucket}?prefix=album%2F`),
    shows: () => NAME,
  },
  ListObjectsV2: {
    like: 'list, v2',
    ask: ({ bucket }, ask) => ask('GET', `/${bucket}?list-type=2&prefix=album%2F`),
    shows: () => NAME,
  },
  RenameObject: {
    like: 'move',
    ask: ({ bucket, object }, ask) =>
      ask('PUT', `/${bucket}/album/new.txt?renameObject`, {
        headers: { 'x-amz-rename-source': `/${object}` },
      }),
  },
  CopyObject: {
    like: 'copy',
    ask: (cell, ask) => ask('PUT', `/${cell.bucket}/album/new.txt`, copyOf(cell)),
  },
  'CopyObject into another bucket': {
    like: 'copy out',
    ask: (cell, ask) => ask('PUT', `/${cell.world.commons.writable}/${randomUUID()}`, copyOf(cell)),
  },
  DeleteObject: {
    like: 'delete',
    ask: ({ object }, ask) => ask('DELETE', `/${object}`),
    // What is not there for a caller has been deleted.
    answers: { 404: 'empty' },
  },
  DeleteObjects: {
    like: 'delete many',
    ask: ({ bucket }, ask) => ask('POST', `/${bucket}?delete`, { body: deletion(NAME) }),
  },
  CreateMultipartUpload: {
    like: 'resumable, begin',
    ask: ({ bucket }, ask) => ask('POST', `/${bucket}/album/new.txt?uploads`),
  },
  CreateBucket: {
    like: 'bucket, make',
    ask: (_cell, ask) => ask('PUT', `/made-${randomUUID()}`),
  },
  ListBuckets: {
    like: 'bucket, list',
    ask: (_cell, ask) => ask('GET', '/'),
    shows: ({ bucket }) => bucket,
  },
  HeadBucket: {
    like: 'bucket, get',
    ask: ({ bucket }, ask) => ask('HEAD', `/${bucket}`),
  },
  'GetObject of a version': {
    like: 'version, authenticated',
    before: overwritten,
    ask: ({ object }, ask, id) => ask('GET', `/${object}?versionId=${id}`),
    shows: secret,
  },
  'CopyObject of a version': {
    like: 'version, copy',
    before: overwritten,
    ask: ({ bucket, object }, ask, id) =>
      ask('PUT', `/${bucket}/album/new.txt`, {
        headers: { 'x-amz-copy-source': `/${object}?versionId=${id}` },
      }),
  },
  'DeleteObject of a version': {
    like: 'version, delete',
    before: overwritten,
    ask: ({ object }, ask, id) => ask('DELETE', `/${object}?versionId=${id}`),
    answers: { 404: 'empty' },
  },
  ListObjectVersions: {
    like: 'versions, list',
    before: overwritten,
    ask: ({ bucket }, ask) => ask('GET', `/${bucket}?versions&prefix=album%2F`),
    shows: () => '<IsLatest>false</IsLatest>',
  },
  'DeleteBucket of a full one': {
    like: 'bucket, delete when full',
    ask: ({ bucket }, ask) => ask('DELETE', `/${bucket}`),
  },
}

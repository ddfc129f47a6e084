import {
  type Action,
  created,
  exchanged,
  FREE,
  found,
  isDone,
  left,
  NOT_ASKED,
  once,
  other,
  TAKEN,
  type Target,
} from './action.ts'
import { NOTHING } from './linearizability.ts'
import type { Reply } from './session.ts'

/** What S3 clients ask for. */
export const S3_ACTIONS: Action[] = [
  {
    what: 'GetObject',
    weight: 8,
    mayBeFromMemory: true,
    on: (target) =>
      once(undefined, () => send(target, 'GET'), {
        200: ({ bytes, headers }) => {
          const content = target.contents.in(bytes)
          if (target.contents.taggedBy(headers.etag) !== content) throw new Error('an ETag of other bytes')
          return found(content)
        },
        404: FREE,
      }),
  },
  {
    what: 'HeadObject',
    weight: 4,
    mayBeFromMemory: true,
    on: (target) =>
      once(undefined, () => send(target, 'HEAD'), {
        200: ({ headers }) => found(target.contents.taggedBy(headers.etag)),
        404: FREE,
      }),
  },
  {
    what: 'PutObject',
    weight: 7,
    on: (target) => {
      const { content, bytes } = target.make()
      return once(left(content), () => send(target, 'PUT', bytes), { 200: left(content) })
    },
  },
  {
    what: 'PutObject with If-None-Match',
    weight: 3,
    on: (target) => {
      const { content, bytes } = target.make()
      const done = created(content)
      return once(done, () => send(target, 'PUT', bytes, { 'if-none-match': '*' }), { 200: done, 412: TAKEN })
    },
  },
  {
    what: 'PutObject with If-Match',
    weight: 3,
    on: (target) => {
      const { seen } = target
      if (!seen) return undefined
      const { content, bytes } = target.make()
      const done = exchanged(seen.content, content)
      const put = () => send(target, 'PUT', bytes, { 'if-match': seen.etag })
      return once(done, put, { 200: done, 404: FREE, 412: other(seen.content) })
    },
  },
  {
    what: 'DeleteObject',
    weight: 3,
    on: (target) => once(left(NOTHING), () => send(target, 'DELETE'), { 204: left(NOTHING) }),
  },
  {
    what: 'CopyObject',
    weight: 2,
    on: (target) => {
      const { content, bytes } = target.make()
      const elsewhere = { ...target, name: target.newName() }
      const source = { 'x-amz-copy-source': `/${target.bucket}/${elsewhere.name}` }
      return {
        wants: left(content),
        ask: async () => {
          const stored = await send(elsewhere, 'PUT', bytes)
          if (!isDone(stored, 200)) return NOT_ASKED
          return once(undefined, () => send(target, 'PUT', undefined, source), { 200: left(content) }).ask()
        },
      }
    },
  },
  {
    what: 'CompleteMultipartUpload',
    weight: 1,
    on: (target) => {
      const { content, bytes } = target.make()
      return {
        wants: left(content),
        ask: async () => {
          const begun = await send(target, 'POST', undefined, {}, '?uploads')
          if (!isDone(begun, 200)) return NOT_ASKED
          const id = /<UploadId>([^<]+)</.exec(begun.bytes.toString())?.[1] ?? ''
          const place = `uploadId=${encodeURIComponent(id)}`
          const part = await send(target, 'PUT', bytes, {}, `?partNumber=1&${place}`)
          if (!isDone(part, 200)) return NOT_ASKED
          const etag = part.headers.etag
          const list = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${etag}</ETag></Part></CompleteMultipartUpload>`
          const complete = () => send(target, 'POST', Buffer.from(list), {}, `?${place}`)
          return once(undefined, complete, { 200: left(content) }).ask()
        },
      }
    },
  },
]

function send(
  { bucket, name, session }: Target,
  method: string,
  body?: Buffer,
  headers: Record<string, string> = {},
  query = '',
): Promise<Reply | undefined> {
  return session.s3(method, `/${bucket}/${name}${query}`, { headers, ...(body && { body }) })
}

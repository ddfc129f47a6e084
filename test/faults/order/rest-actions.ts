import {
  type Action,
  byStatus,
  created,
  exchanged,
  FREE,
  found,
  isDone,
  left,
  NOT_ASKED,
  once,
  other,
  replaced,
  TAKEN,
  type Target,
} from './action.ts'
import { NOTHING, type Told } from './linearizability.ts'
import type { Reply } from './session.ts'

const GONE: Told = { not: NOTHING, leaves: NOTHING }
/** Who hears this knows as well as who has deleted it that there is nothing from now on. */
const GONE_ALREADY: Told = { is: NOTHING, leaves: NOTHING }

/** What clients of the REST API ask for. */
export const REST_ACTIONS: Action[] = [
  {
    what: 'GET',
    weight: 14,
    mayBeFromMemory: true,
    on: (target) =>
      once(undefined, () => read(target, 'GET'), { 200: (reply) => inBody(target, reply), 404: FREE }),
  },
  {
    what: 'HEAD',
    weight: 5,
    mayBeFromMemory: true,
    on: (target) =>
      once(undefined, () => read(target, 'HEAD'), { 200: (reply) => inHeader(target, reply), 404: FREE }),
  },
  {
    what: 'GET info',
    weight: 5,
    on: (target) =>
      once(undefined, () => target.session.rest('GET', `/object/info/${pathOf(target)}`), {
        200: ({ bytes }) => found(target.contents.taggedBy(JSON.parse(bytes.toString()).etag)),
        404: FREE,
      }),
  },
  {
    what: 'list',
    weight: 4,
    on: (target) => {
      const { bucket, name, session, contents } = target
      const body = { prefix: '', search: name }
      return once(undefined, () => session.rest('POST', `/object/list/${bucket}`, { body }), {
        200: ({ bytes }) => {
          const rows: { name: string; metadata: { eTag: string } }[] = JSON.parse(bytes.toString())
          const row = rows.find((entry) => entry.name === name)
          return row ? found(contents.taggedBy(row.metadata.eTag)) : FREE
        },
      })
    },
  },
  {
    what: 'PUT',
    weight: 8,
    on: (target) => {
      const { content, bytes } = target.make()
      return once(left(content), () => write(target, 'PUT', bytes), {
        200: replaced(content),
        201: created(content),
      })
    },
  },
  {
    what: 'POST with x-upsert',
    weight: 3,
    on: (target) => {
      const { content, bytes } = target.make()
      const send = () => write(target, 'POST', bytes, { 'x-upsert': 'true' })
      return once(left(content), send, { 201: left(content) })
    },
  },
  {
    what: 'POST',
    weight: 6,
    on: (target) => {
      const { content, bytes } = target.make()
      return once(created(content), () => write(target, 'POST', bytes), { 201: created(content), 409: TAKEN })
    },
  },
  {
    what: 'PUT with If-None-Match',
    weight: 4,
    on: (target) => {
      const { content, bytes } = target.make()
      const send = () => write(target, 'PUT', bytes, { 'if-none-match': '*' })
      return once(created(content), send, { 201: created(content), 412: TAKEN })
    },
  },
  {
    what: 'PUT with If-Match',
    weight: 7,
    on: (target) => {
      const { seen } = target
      if (!seen) return undefined
      const { content, bytes } = target.make()
      const done = exchanged(seen.content, content)
      const send = () => write(target, 'PUT', bytes, { 'if-match': seen.etag })
      return once(done, send, { 200: done, 412: other(seen.content) })
    },
  },
  {
    what: 'DELETE',
    weight: 4,
    on: (target) => once(GONE, () => write(target, 'DELETE'), { 204: GONE, 404: GONE_ALREADY }),
  },
  {
    what: 'DELETE with If-Match',
    weight: 3,
    on: (target) => {
      const { seen } = target
      if (!seen) return undefined
      const done = exchanged(seen.content, NOTHING)
      const send = () => write(target, 'DELETE', undefined, { 'if-match': seen.etag })
      return once(done, send, { 204: done, 404: GONE_ALREADY, 412: other(seen.content) })
    },
  },
  {
    what: 'DELETE of many',
    weight: 2,
    on: (target) => {
      const { bucket, name, session, contents } = target
      const send = () => session.rest('DELETE', `/object/${bucket}`, { body: { prefixes: [name] } })
      return once(GONE, send, {
        200: ({ bytes }) => {
          const [row]: { metadata: { eTag: string } }[] = JSON.parse(bytes.toString())
          return row ? exchanged(contents.taggedBy(row.metadata.eTag), NOTHING) : GONE_ALREADY
        },
      })
    },
  },
  {
    what: 'move to it',
    weight: 2,
    on: (target) => {
      const { content, bytes } = target.make()
      const done = created(content)
      return fromElsewhere(target, bytes, done, (from) => move(target, from, target.name), {
        200: done,
        409: TAKEN,
      })
    },
  },
  {
    what: 'copy to it',
    weight: 2,
    on: (target) => {
      const { content, bytes } = target.make()
      const copy = (from: string) => copyTo(target, from, target.name, { 'x-upsert': 'true' })
      return fromElsewhere(target, bytes, left(content), copy, { 200: left(content) })
    },
  },
  {
    what: 'move away',
    weight: 2,
    on: (target) => {
      const { contents, newName } = target
      const elsewhere = { ...target, name: newName() }
      return {
        wants: GONE,
        ask: async () => {
          const moved = await move(target, target.name, elsewhere.name)
          const told = byStatus(moved, { 200: GONE, 404: FREE })
          if (told !== GONE) return told
          const there = await read(elsewhere, 'GET')
          // Without an answer it is known all the same that something was moved.
          return isDone(there, 200) ? exchanged(contents.in(there.bytes), NOTHING) : told
        },
      }
    },
  },
  {
    what: 'copy away',
    weight: 2,
    on: (target) =>
      once(undefined, () => copyTo(target, target.name, target.newName()), {
        200: ({ bytes }) => found(target.contents.taggedBy(JSON.parse(bytes.toString()).metadata.eTag)),
        404: FREE,
      }),
  },
]

/** An upload under a name of one's own, and then what brings it to the target's. */
function fromElsewhere(
  target: Target,
  bytes: Buffer,
  wants: Told,
  bring: (from: string) => Promise<Reply | undefined>,
  answers: Record<number, Told>,
) {
  const elsewhere = { ...target, name: target.newName() }
  return {
    wants,
    ask: async () => {
      const stored = await write(elsewhere, 'PUT', bytes)
      return isDone(stored, 201) ? byStatus(await bring(elsewhere.name), answers) : NOT_ASKED
    },
  }
}

function read(target: Target, method: 'GET' | 'HEAD'): Promise<Reply | undefined> {
  const { isPublic, session } = target
  return isPublic
    ? session.anonymous(method, `/object/public/${pathOf(target)}`)
    : session.rest(method, `/object/${pathOf(target)}`)
}

function write(target: Target, method: string, body?: Buffer, headers = {}): Promise<Reply | undefined> {
  return target.session.rest(method, `/object/${pathOf(target)}`, { headers, ...(body && { body }) })
}

function move({ bucket, session }: Target, from: string, to: string): Promise<Reply | undefined> {
  const body = { bucketId: bucket, sourceKey: from, destinationKey: to }
  return session.rest('POST', '/object/move', { body })
}

function copyTo(
  { bucket, session }: Target,
  from: string,
  to: string,
  headers = {},
): Promise<Reply | undefined> {
  const body = { bucketId: bucket, sourceKey: from, destinationKey: to }
  return session.rest('POST', '/object/copy', { headers, body })
}

function pathOf({ bucket, name }: Target): string {
  return `${bucket}/${name}`
}

function inBody({ contents }: Target, reply: Reply): Told {
  const content = contents.in(reply.bytes)
  if (contents.taggedBy(reply.headers.etag) !== content) throw new Error('an ETag of other bytes')
  return found(content)
}

function inHeader({ contents }: Target, { headers }: Reply): Told {
  return found(contents.taggedBy(headers.etag))
}

import { createHash } from 'node:crypto'
import type { TestServer } from '../../support/server.ts'
import { isFull } from '../size.ts'

/** The SHA-256 of what each path holds, or null where there is nothing. */
export type State = Record<string, string | null>

/** One operation, on names of its own. */
export interface Round {
  before: State
  after: State
  /** Makes the state before. */
  prepare(): Promise<void>
  run(): Promise<Response>
}

export interface Operation {
  what: string
  /** Whether the database does all of it at once: bytes that are in it leave nothing to be done before or after. */
  isOneCall: boolean
  round(server: TestServer, id: string): Round
}

/** 400 kB: more than a body that is read at once, and more than one write of the backend when it is gathered. */
const LARGE = 400_000
/** Read at once, and too much for the database (STORAGE_INLINE_SIZE). */
const MEDIUM = 20_000
/** Kept in the database. */
const SMALL = 1000

/** Of buckets that keep versions. */
const VERSIONED = { versioning_status: 'ENABLED' }

const KINDS: Record<number, string> = { [SMALL]: 'small', [MEDIUM]: 'medium', [LARGE]: 'streamed' }

/** Bytes that tell which object they are of, wherever they are cut. */
export function content(label: string, size: number): Buffer {
  return Buffer.alloc(size, `${createHash('sha256').update(label).digest('hex')} ${label}\n`)
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function put(server: TestServer, path: string, bytes: Buffer): Promise<void> {
  const response = await server.request('PUT', `/object/${path}`, { body: bytes as unknown as string })
  if (!response.ok) throw new Error(`PUT ${path}: ${response.status} ${await response.text()}`)
}

async function makeBuckets(server: TestServer, ...ids: string[]): Promise<void> {
  for (const id of ids) await server.createBucket(id)
}

/** @param over whether there is an object already, which it replaces */
function upload(method: 'POST' | 'PUT', size: number, over: boolean, isChunked = false): Operation {
  const kind = isChunked ? 'chunked' : KINDS[size]
  return {
    what: `a ${kind} upload ${over ? 'over an object' : 'to a new name'}`,
    isOneCall: size === SMALL && !isChunked,
    round: (server, id) => {
      const path = `${id}/a.txt`
      const [old, fresh] = [content(`${id} old`, size), content(`${id} new`, size)]
      const body = () => (isChunked ? new Blob([fresh]).stream() : fresh)
      return {
        before: { [path]: over ? sha256(old) : null },
        after: { [path]: sha256(fresh) },
        prepare: async () => {
          await makeBuckets(server, id)
          if (over) await put(server, path, old)
        },
        run: () => server.request(method, `/object/${path}`, { body: body() as unknown as string }),
      }
    },
  }
}

function copy(size: number, over: boolean): Operation {
  return {
    what: `a copy ${over ? 'over an object' : 'to a new name'} in another bucket`,
    isOneCall: false,
    round: (server, id) => {
      const other = `${id}-to`
      const [from, to] = [`${id}/from`, `${other}/to`]
      const [source, old] = [content(`${id} source`, size), content(`${id} old`, size)]
      return {
        before: { [from]: sha256(source), [to]: over ? sha256(old) : null },
        after: { [from]: sha256(source), [to]: sha256(source) },
        prepare: async () => {
          await makeBuckets(server, id, other)
          await put(server, from, source)
          if (over) await put(server, to, old)
        },
        run: () =>
          server.request('POST', '/object/copy', {
            headers: { 'x-upsert': String(over) },
            body: { bucketId: id, sourceKey: 'from', destinationBucket: other, destinationKey: 'to' },
          }),
      }
    },
  }
}

function move(to: 'the same bucket' | 'another bucket', size = SMALL, settings = {}): Operation {
  const isCopied = Object.keys(settings).length > 0
  return {
    what: `a ${isCopied ? `copying move of ${KINDS[size]} bytes` : 'move'} within ${to}`.replace(
      'within another',
      'to another',
    ),
    isOneCall: false,
    round: (server, id) => {
      const bucket = to === 'the same bucket' ? id : `${id}-to`
      const bytes = content(id, size)
      return {
        before: { [`${id}/from`]: sha256(bytes), [`${bucket}/to`]: null },
        after: { [`${id}/from`]: null, [`${bucket}/to`]: sha256(bytes) },
        prepare: async () => {
          for (const one of new Set([id, bucket])) await server.createBucket(one, settings)
          await put(server, `${id}/from`, bytes)
        },
        run: () =>
          server.request('POST', '/object/move', {
            body: { bucketId: id, sourceKey: 'from', destinationBucket: bucket, destinationKey: 'to' },
          }),
      }
    },
  }
}

function remove(count: number, size: number): Operation {
  return {
    what: count === 1 ? `a delete of a ${KINDS[size]} object` : `a delete of ${count} ${KINDS[size]} objects`,
    isOneCall: size === SMALL,
    round: (server, id) => {
      const names = Array.from({ length: count }, (_, n) => `${n}.txt`)
      const kept = `${id}/kept`
      const bytes = (name: string) => content(`${id} ${name}`, size)
      return {
        before: Object.fromEntries([
          [kept, sha256(bytes(kept))],
          ...names.map((name) => [`${id}/${name}`, sha256(bytes(name))]),
        ]),
        after: Object.fromEntries([
          [kept, sha256(bytes(kept))],
          ...names.map((name) => [`${id}/${name}`, null]),
        ]),
        prepare: async () => {
          await makeBuckets(server, id)
          await put(server, kept, bytes(kept))
          for (const name of names) await put(server, `${id}/${name}`, bytes(name))
        },
        run: () =>
          count === 1
            ? server.request('DELETE', `/object/${id}/${names[0]}`)
            : server.request('DELETE', `/object/${id}`, { body: { prefixes: names } }),
      }
    },
  }
}

export const OPERATIONS: Operation[] = [
  upload('POST', SMALL, false),
  upload('PUT', SMALL, true),
  upload('POST', MEDIUM, false),
  upload('PUT', MEDIUM, true),
  upload('POST', LARGE, false),
  upload('PUT', LARGE, true),
  copy(LARGE, false),
  copy(SMALL, true),
  move('the same bucket'),
  move('another bucket'),
  move('another bucket', SMALL, VERSIONED),
  move('the same bucket', MEDIUM, VERSIONED),
  remove(1, SMALL),
  remove(1, MEDIUM),
  remove(3, SMALL),
  remove(3, MEDIUM),
  ...(isFull ? [upload('PUT', SMALL, false), upload('POST', LARGE, false, true)] : []),
]

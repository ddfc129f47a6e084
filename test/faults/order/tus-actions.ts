import { metadataOf } from '../../support/tus-requests.ts'
import {
  type Action,
  byStatus,
  created,
  isDone,
  left,
  NOT_ASKED,
  StrangeAnswer,
  TAKEN,
  type Target,
} from './action.ts'
import type { Told } from './linearizability.ts'
import type { Reply } from './session.ts'

/** How often an upload that has broken off is taken up again. */
const ATTEMPTS = 4

const VERSION = { 'tus-resumable': '1.0.0' }
const CHUNK = { ...VERSION, 'content-type': 'application/offset+octet-stream' }

/** What clients of resumable uploads ask for. */
export const TUS_ACTIONS: Action[] = [
  {
    what: 'TUS, at once',
    weight: 3,
    on: (target) => {
      const { content, bytes } = target.make()
      return {
        wants: left(content),
        ask: async () => {
          const made = await create(target, bytes.length, { upsert: true, body: bytes })
          return byStatus(made, { 201: left(content) })
        },
      }
    },
  },
  {
    what: 'TUS, at once, without x-upsert',
    weight: 2,
    on: (target) => {
      const { content, bytes } = target.make()
      return {
        wants: created(content),
        ask: async () => {
          const made = await create(target, bytes.length, { upsert: false, body: bytes })
          return byStatus(made, { 201: created(content), 409: TAKEN })
        },
      }
    },
  },
  {
    what: 'TUS, in chunks',
    weight: 3,
    on: (target) => {
      const { content, bytes } = target.make()
      return { wants: left(content), ask: () => inChunks(target, bytes, left(content)) }
    },
  },
]

/** Chunks by turns through one server and the other; what breaks off goes on from what was noted. */
async function inChunks(target: Target, bytes: Buffer, done: Told): Promise<Told | undefined> {
  const { session } = target
  const made = await create(target, bytes.length, { upsert: true })
  if (!isDone(made, 201)) return NOT_ASKED // without its address nobody goes on with it
  const path = new URL(String(made.headers.location)).pathname.replace(/^\/storage\/v1/, '')
  let offset = 0
  let mayBeFinished = false
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const end = offset === 0 ? bytes.length >> 1 : bytes.length
    session.turn()
    const headers = { ...CHUNK, 'upload-offset': String(offset) }
    const sent = await session.rest('PATCH', path, { headers, body: bytes.subarray(offset, end) })
    if (sent?.status === 204) {
      offset = end
      if (offset === bytes.length) return done
      continue
    }
    mayBeFinished ||= sent === undefined && end === bytes.length
    session.turn()
    const asked = await session.rest('HEAD', path, { headers: VERSION })
    if (asked?.headers['tus-complete'] === '1') return done
    // A finished one is told while its object is what it has made: by now that may be another.
    if (asked?.status === 410 && mayBeFinished) return undefined
    if (asked?.status === 200) offset = Number(asked.headers['upload-offset'])
    else if (asked) throw new StrangeAnswer(asked)
    // Its bytes are all there, and its object is not: that is for who has sent the last of them.
    if (offset === bytes.length) return undefined
  }
  return undefined
}

function create(
  { bucket, name, session }: Target,
  length: number,
  { upsert, body }: { upsert: boolean; body?: Buffer },
): Promise<Reply | undefined> {
  return session.rest('POST', '/upload/resumable', {
    headers: {
      ...(body ? CHUNK : VERSION),
      'x-upsert': String(upsert),
      'upload-length': String(length),
      'upload-metadata': metadataOf({ bucketName: bucket, objectName: name }),
    },
    ...(body && { body }),
  })
}

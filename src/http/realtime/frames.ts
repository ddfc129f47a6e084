import { JsonTooComplex, parseJson } from '../../lib/bounded-json.ts'

/** The serializers of Phoenix that clients ask for with `vsn` (wire §10.2). */
export const VERSIONS = ['1.0.0', '2.0.0'] as const
export type Version = (typeof VERSIONS)[number]

export interface Message {
  /** The `ref` of the join that it belongs to. */
  joinRef: string | null
  /** What a reply has to repeat; null when none is expected. */
  ref: string | null
  topic: string
  event: string
  payload: unknown
}

/** The connection has to end: nobody knows what else is wrong with such a client. */
export class MalformedFrame extends Error {
  override readonly name = 'MalformedFrame'

  /** @param closeCode RFC 6455 §7.4.1 */
  constructor(
    readonly closeCode: 1003 | 1007,
    message: string,
  ) {
    super(message)
  }
}

/** @throws MalformedFrame */
export function readText(version: Version, text: string): Message {
  let value: unknown
  try {
    value = parseJson(text)
  } catch (error) {
    const sentence = error instanceof JsonTooComplex ? error.message : 'must be JSON'
    throw new MalformedFrame(1007, `a text frame ${sentence}`)
  }
  const fields = version === '1.0.0' ? objectFields(value) : arrayFields(value)
  const { joinRef = null, ref = null, topic, event, payload = {} } = fields
  if (!isRef(joinRef) || !isRef(ref) || typeof topic !== 'string' || typeof event !== 'string') {
    throw new MalformedFrame(1007, `not a message of version ${version}`)
  }
  return { joinRef, ref, topic, event, payload }
}

function objectFields(value: unknown): Record<string, unknown> {
  if (value === null || typeof value !== 'object') return {}
  const { join_ref: joinRef, ...fields } = value as Record<string, unknown>
  return { ...fields, joinRef }
}

function arrayFields(value: unknown): Record<string, unknown> {
  if (!Array.isArray(value)) return {}
  const [joinRef, ref, topic, event, payload] = value
  return { joinRef, ref, topic, event, payload }
}

function isRef(value: unknown): value is string | null {
  return value === null || typeof value === 'string'
}

/** A client's broadcast. */
const USER_BROADCAST_PUSH = 3

/** The kind, five lengths, and the encoding of the payload. In bytes. */
const HEADER_BYTES = 7

/**
 * Clients of version 2.0.0 send their broadcasts in binary, and nothing else. Nobody gets them here, so that the
 * payload is left out.
 *
 * @throws MalformedFrame
 */
export function readBinary(version: Version, bytes: Buffer): Message {
  if (version !== '2.0.0' || bytes[0] !== USER_BROADCAST_PUSH || bytes.length < HEADER_BYTES) {
    throw new MalformedFrame(1003, 'no such binary frame')
  }
  let end = HEADER_BYTES
  const [joinRef = '', ref = '', topic = ''] = [...bytes.subarray(1, 6)].map((length) => {
    end += length
    return bytes.toString('utf8', end - length, end)
  })
  if (bytes.length < end) throw new MalformedFrame(1003, 'a binary frame ends early')
  return { joinRef: joinRef || null, ref: ref || null, topic, event: 'broadcast', payload: {} }
}

/** As bytes, which all connections that get the same can share. Text of both versions. */
export function encode(version: Version, { joinRef, ref, topic, event, payload }: Message): Buffer {
  const frame =
    version === '1.0.0'
      ? { topic, event, payload, ref, join_ref: joinRef }
      : [joinRef, ref, topic, event, payload]
  return Buffer.from(JSON.stringify(frame))
}

/**
 * A message of the server's own, around a payload that is JSON already. It is not of one join: `join_ref` may be null
 * (wire §10.2).
 */
export function encodeAround(
  version: Version,
  { topic, event }: Pick<Message, 'topic' | 'event'>,
  payload: Buffer,
): Buffer {
  const [to, name] = [JSON.stringify(topic), JSON.stringify(event)]
  const [before, after] =
    version === '1.0.0'
      ? [`{"topic":${to},"event":${name},"payload":`, ',"ref":null,"join_ref":null}']
      : [`[null,null,${to},${name},`, ']']
  return Buffer.concat([Buffer.from(before), payload, Buffer.from(after)])
}

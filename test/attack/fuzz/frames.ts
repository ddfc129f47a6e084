import type { Random } from '../../faults/random.ts'
import { type Arsenal, aToken } from './arsenal.ts'
import { aText, aValue, chance } from './values.ts'

/** A handshake (RFC 6455 §4.1) and the frames that its client sends without waiting for an answer. */
export function hijacked(random: Random, arsenal: Arsenal) {
  const frames = Array.from({ length: random.below(8) }, () => aFrame(random, arsenal))
  return {
    method: 'GET',
    path: `/realtime/v1/websocket?apikey=${aToken(random, arsenal)}&vsn=${random.pick(['1.0.0', '2.0.0', '2.0.0', '9'])}`,
    headers: [
      `Connection: ${random.pick(['Upgrade', 'upgrade, keep-alive'])}`,
      'Upgrade: websocket',
      `Sec-WebSocket-Version: ${chance(random, 95) ? 13 : 8}`,
      `Sec-WebSocket-Key: ${chance(random, 95) ? 'dGhlIHNhbXBsZSBub25jZQ==' : aText(random)}`,
      ...(chance(random, 20)
        ? [`Sec-WebSocket-Extensions: ${random.pick(['permessage-deflate', 'x; y=z', aText(random)])}`]
        : []),
      // The frames are no body.
      'Content-Length: 0',
    ],
    body: Buffer.concat(frames),
  }
}

/** RFC 6455 §5.2, with what it forbids now and then. */
function aFrame(random: Random, arsenal: Arsenal): Buffer {
  const payload = Buffer.from(
    chance(random, 80) ? aMessage(random, arsenal) : random.bytes(random.below(100)),
  )
  const opcode = random.pick([1, 1, 1, 1, 2, 0, 8, 9, 10, 3, 15])
  const first = (chance(random, 90) ? 0x80 : 0) | (chance(random, 5) ? 0x70 : 0) | opcode
  const isMasked = chance(random, 95)
  const head = lengthOf(random, payload.length, isMasked ? 0x80 : 0)
  if (!isMasked) return Buffer.concat([Buffer.from([first]), head, payload])
  const mask = random.bytes(4)
  const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))
  return Buffer.concat([Buffer.from([first]), head, mask, masked])
}

function lengthOf(random: Random, length: number, mask: number): Buffer {
  if (chance(random, 3)) return Buffer.from([mask | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
  if (length < 126) return Buffer.from([mask | length])
  if (length < 65_536) return Buffer.from([mask | 126, length >> 8, length & 255])
  const bytes = Buffer.alloc(9)
  bytes[0] = mask | 127
  bytes.writeBigUInt64BE(BigInt(length), 1)
  return bytes
}

function aMessage(random: Random, arsenal: Arsenal): string {
  const topic = random.pick([
    'realtime:storage',
    'realtime:storage:open',
    'realtime:x',
    'phoenix',
    aText(random),
  ])
  const event = random.pick([
    'phx_join',
    'phx_join',
    'heartbeat',
    'phx_leave',
    'access_token',
    'broadcast',
    'presence',
    aText(random),
  ])
  const changes = {
    event: '*',
    schema: 'storage',
    table: 'objects',
    filter: random.pick(['bucket_id=eq.open', 'name=in.(((', aText(random)]),
  }
  const payload = random.pick<unknown>([
    {},
    {
      config: { broadcast: { ack: true }, postgres_changes: [changes] },
      access_token: aToken(random, arsenal),
    },
    { access_token: aToken(random, arsenal) },
    aValue(random),
  ])
  const ref = String(random.below(100))
  return JSON.stringify(
    random.pick<unknown>([[ref, ref, topic, event, payload], { topic, event, payload, ref }, aValue(random)]),
  )
}

import { connect } from 'node:net'
import { Random } from '../../faults/random.ts'
import { PATIENCE_MS } from '../../support/wait.ts'
import type { Arsenal } from './arsenal.ts'
import { aRequest, mutated } from './requests.ts'
import { chance } from './values.ts'

/** A client that waits for an answer to what was damaged gives up after so long. In milliseconds. */
const GIVES_UP_MS = 100

/** Complaints after which nobody needs more of them. */
const ENOUGH = 10

/** Connections at once. */
const CROWD = 32

/** Statuses of 500 and more that docs/limits.md promises: nothing of the kind is here, or busy, with when to come back. */
const isPromised = (head: string) =>
  /^HTTP\/1\.1 501 /.test(head) || (/^HTTP\/1\.1 503 /.test(head) && /\r\nretry-after: \d+\r\n/i.test(head))

/** What came of some requests. */
export class Tally {
  requests = 0
  readonly statuses = new Map<number, number>()
  /** What must not be, with all that is needed to see it again. */
  readonly complaints: string[] = []

  toString(): string {
    const counts = [...this.statuses]
      .sort(([a], [b]) => a - b)
      .map(([status, count]) => `${status}: ${count}`)
    return `${this.requests} requests, answers ${counts.join(', ')}`
  }
}

/** What goes over one connection. */
interface Attack {
  requests: number
  bytes: Buffer
  /** No request is damaged or less than it says: each must be answered. */
  isWhole: boolean
  /** Where the bytes are cut into two pieces. */
  cut: number
  /** Goes away in the middle, as a killed client does. */
  isReset: boolean
}

/** The attack with this number of a seed: always the same. */
export function attackOf(seed: number, number: number, arsenal: Arsenal): Attack {
  const random = new Random(Math.imul(seed + number, 0x9e3779b1))
  const requests = Array.from({ length: chance(random, 10) ? 2 + random.below(4) : 1 }, () =>
    aRequest(random, arsenal),
  )
  const whole = Buffer.concat(requests.map(({ bytes }) => bytes))
  const isMutated = chance(random, 25)
  const bytes = isMutated ? mutated(random, whole) : whole
  return {
    requests: requests.length,
    bytes,
    isWhole: !isMutated && requests.every(({ isTrue }) => isTrue),
    cut: chance(random, 30) ? random.below(bytes.length + 1) : bytes.length,
    isReset: chance(random, 5),
  }
}

/** Sends so many requests, from a number on, and says what came of them. */
export async function fuzz(
  url: string,
  arsenal: Arsenal,
  { seed, first, count }: { seed: number; first: number; count: number },
): Promise<Tally> {
  const tally = new Tally()
  let next = first
  const client = async () => {
    while (tally.requests < count && tally.complaints.length < ENOUGH) {
      const number = next++
      const attack = attackOf(seed, number, arsenal)
      tally.requests += attack.requests
      const answer = await exchange(url, attack)
      const heads = headsIn(answer.text)
      for (const head of heads) {
        const status = Number(head.slice(9, 12))
        tally.statuses.set(status, (tally.statuses.get(status) ?? 0) + 1)
      }
      const isBroken = heads.some((head) => / 5\d\d /.test(head.slice(8, 13)) && !isPromised(head))
      if (isBroken || answer.hangs) tally.complaints.push(complaint(seed, number, attack, answer))
    }
  }
  await Promise.all(Array.from({ length: CROWD }, client))
  return tally
}

interface Answer {
  text: string
  hangs: boolean
}

/** What was sent and answered, without their long parts; the seed brings all of it again. */
function complaint(seed: number, number: number, { bytes }: Attack, { text, hangs }: Answer): string {
  const short = (all: string) =>
    JSON.stringify(all.replace(/[\w.-]{300,}/g, (long) => `${long.slice(0, 60)}…`).slice(0, 2000))
  const sent = short(bytes.toString('latin1'))
  return `ATTACK_SEED=${seed}, number ${number}${hangs ? ' hangs' : ''}: ${short(text)}\nto ${sent}`
}

/** The heads of all responses but interim ones. */
function headsIn(text: string): string[] {
  return text.match(/HTTP\/1\.1 (?:101|[2-5]\d\d) [\s\S]*?\r\n\r\n/g) ?? []
}

/** Sends, and reads until all is answered, or the connection is closed, or it is certain that neither will be. */
function exchange(url: string, { requests, bytes, isWhole, cut, isReset }: Attack): Promise<Answer> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true })
  const answer = { text: '', hangs: false }
  // The server may wait for the rest of what is not whole: it is told that there is none.
  const impatience = setTimeout(() => {
    if (!isWhole) socket.end()
  }, GIVES_UP_MS)
  const limit = setTimeout(() => {
    answer.hangs = true
    socket.destroy()
  }, PATIENCE_MS)
  socket.on('error', () => {}) // 'close' follows
  socket.on('end', () => socket.destroy())
  socket.on('data', (piece) => {
    impatience.refresh()
    answer.text += piece.toString('latin1')
    const heads = headsIn(answer.text)
    if (heads.some((head) => head.startsWith('HTTP/1.1 101 '))) {
      socket.end() // the frames behind the handshake are still read
    } else if (
      heads.length >= requests ||
      heads.some((head) => /^content-type: text\/event-stream/im.test(head))
    ) {
      socket.destroy() // a stream of events would never end
    }
  })
  socket.write(bytes.subarray(0, cut), () => {
    if (isReset) socket.resetAndDestroy()
    else socket.write(bytes.subarray(cut))
  })
  return new Promise((resolve) => {
    socket.once('close', () => {
      clearTimeout(impatience)
      clearTimeout(limit)
      resolve(answer)
    })
  })
}

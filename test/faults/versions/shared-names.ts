import { createHash } from 'node:crypto'
import type { Random } from '../random.ts'
import type { Row } from './found.ts'
import { type Answer, ask, type Place } from './requests.ts'

/** The bucket, of whose history nothing is ever taken away. */
export const SHARED = 'shared'

/** So many writes go to the same names: a name has at most a thousand versions. */
const WRITES = 400
/** How far back somebody goes, at most, in milliseconds. */
const LONGEST_AGO_MS = 2000

/**
 * Names to which all clients write at once: they overwrite, delete and move them, bring versions back, and bring both back to
 * what they were a moment ago. Who was told that something is stored finds it in the history for ever.
 */
export class SharedNames {
  acknowledged = 0
  /** Answers that no client should get, whatever has failed. */
  readonly strange: string[] = []
  readonly #asked = new Set<string>()
  readonly #stored = new Map<string, string>()

  constructor(private readonly place: () => Place) {}

  /** One operation. @returns whether it was answered */
  async write(random: Random): Promise<boolean> {
    const group = Math.floor(this.acknowledged / WRITES)
    const [name, other] = random.below(2) === 0 ? [`${group}/a`, `${group}/b`] : [`${group}/b`, `${group}/a`]
    switch (random.below(8)) {
      case 0:
        return this.#isDone('DELETE', `/object/${SHARED}/${name}`)
      case 1: {
        const body = { bucketId: SHARED, sourceKey: name, destinationKey: other }
        // There may be nothing to move, and something in its way.
        return this.#isDone('POST', '/object/move', JSON.stringify(body), [404, 409])
      }
      case 2: {
        const answer = await ask(this.place(), 'GET', `/versions/${SHARED}/${name}?limit=20`)
        if (answer?.status !== 200) return answer !== undefined && answer.status !== 503
        const { items } = JSON.parse(answer.text) as {
          items: { version_id: string; is_delete_marker: boolean }[]
        }
        const id = random.pick([undefined, ...items.filter((item) => !item.is_delete_marker)])?.version_id
        if (id === undefined) return true
        const body = { bucket: SHARED, path: name, version_id: id }
        return this.#isDone('POST', '/versions/restore', JSON.stringify(body))
      }
      case 3: {
        const at = new Date(Date.now() - random.below(LONGEST_AGO_MS)).toISOString()
        return this.#isDone(
          'POST',
          '/versions/restore',
          JSON.stringify({ bucket: SHARED, prefix: `${group}/`, at }),
        )
      }
      default: {
        const body = random.bytes(1 + random.below(3000))
        const sha256 = createHash('sha256').update(body).digest('hex')
        this.#asked.add(sha256)
        const isDone = await this.#isDone('PUT', `/object/${SHARED}/${name}`, body)
        if (isDone) this.#stored.set(sha256, name)
        return isDone
      }
    }
  }

  /** What is not in the histories that was stored, what nobody has sent, and where one has a gap or two at one moment. */
  differences(found: ReadonlyMap<string, readonly Row[]>): string[] {
    const rows = [...found].filter(([path]) => path.startsWith(`${SHARED}/`))
    const there = new Set(rows.flatMap(([, history]) => history.map(({ sha256 }) => sha256)))
    return [
      ...[...this.#stored].flatMap(([sha256, name]) =>
        there.has(sha256) ? [] : [`${name} ${sha256} is lost`],
      ),
      ...[...there].flatMap((sha256) =>
        sha256 === null || this.#asked.has(sha256) ? [] : [`${sha256} was not sent`],
      ),
      ...rows.flatMap(([path, history]) => unordered(history).map((what) => `${path} ${what}`)),
    ]
  }

  async #isDone(
    method: string,
    target: string,
    body?: Buffer | string,
    refusals: number[] = [],
  ): Promise<boolean> {
    const answer: Answer | undefined = await ask(this.place(), method, target, body)
    if (answer === undefined || answer.status === 503) return false
    if (answer.status >= 300) {
      if (!refusals.includes(answer.status))
        this.strange.push(`${method} ${target}: ${answer.status} ${answer.text}`)
      return true
    }
    this.acknowledged++
    return true
  }
}

/** Where the numbers of a history, the newest first, do not count down to 1, or its times overlap. */
function unordered(history: readonly Row[]): string[] {
  return history.flatMap(({ number, since, until }, index) => {
    const before = history[index + 1]
    const isNext = number === history.length - index && (before === undefined || since >= before.until)
    return isNext
      ? []
      : [
          `has ${number} of ${since} to ${until} behind ${before?.number} of ${before?.since} to ${before?.until}`,
        ]
  })
}

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { MalformedFrame, readBinary, readText, VERSIONS } from '../../../src/http/realtime/frames.ts'
import { readFilter } from '../../../src/http/realtime/postgres-filter.ts'
import { StorageError } from '../../../src/model/errors.ts'

const SEED = 20_260_6

/** What it throws, if it does. */
function thrown(work: () => unknown): unknown {
  try {
    work()
    return undefined
  } catch (error) {
    return error
  }
}

it('whatever a client sends is a message, or malformed', () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.array(fc.jsonValue(), { maxLength: 6 }).map((value) => JSON.stringify(value)),
  )
  const bytes = fc
    .tuple(fc.constantFrom(3, 4), fc.uint8Array({ maxLength: 40 }))
    .map(([kind, rest]) => Buffer.from([kind, ...rest]))
  fc.assert(
    fc.property(fc.constantFrom(...VERSIONS), text, bytes, (version, frame, binary) => {
      const errors = [thrown(() => readText(version, frame)), thrown(() => readBinary(version, binary))]
      for (const error of errors) if (error !== undefined) expect(error).toBeInstanceOf(MalformedFrame)
    }),
    { seed: SEED, numRuns: 2000 },
  )
})

it('whatever a client asks for is a filter that can be held against any row, or refused', () => {
  const column = fc.constantFrom('name', 'id', 'created_at', 'metadata', 'constructor')
  const operator = fc.constantFrom('eq', 'neq', 'lt', 'gte', 'in', 'toString')
  const value = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('(', ')', '"', '\\', ',', 'a') }))
  const condition = fc.tuple(column, operator, value).map(([left, how, right]) => `${left}=${how}.${right}`)
  const filter = fc.oneof(
    fc.string(),
    fc.array(condition, { maxLength: 3 }).map((all) => all.join(',')),
  )
  const row = fc.record({ id: fc.uuid(), bucket_id: fc.string(), name: fc.string() })
  fc.assert(
    fc.property(filter, row, (asked, record) => {
      const error = thrown(() => expect(readFilter(asked).holds(record)).toBeTypeOf('boolean'))
      if (error !== undefined) expect(error).toBeInstanceOf(StorageError)
    }),
    { seed: SEED, numRuns: 2000 },
  )
})

it.each(['(', ')', '"', '\\"', '(a', '"a', '("', 'a,'])(
  'a filter of nothing but %s is answered at once',
  (part) => {
    // The longest that a client may ask for: were this not linear, the test would never end.
    const text = `name=in.${part.repeat(Math.floor(8000 / part.length))}`
    const error = thrown(() => readFilter(text))
    if (error !== undefined) expect(error).toBeInstanceOf(StorageError)
  },
)

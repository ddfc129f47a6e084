import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import postgres from '#postgres'

let sql: postgres.Sql
beforeAll(() => {
  const { host, port, superuser: username } = inject('postgres')
  sql = postgres({ host, port, username, database: 'postgres', pass: '', max: 1, onnotice: () => {} })
})
afterAll(() => sql.end({ timeout: 1 }))

/** Prepared as statements of ours are. */
const ask = <Row extends object>(text: string, values: unknown[] = []) =>
  sql.unsafe<Row[]>(text, values as postgres.SerializableParameter[], { prepare: true }).execute()

it.each([0, 1, 255, 70_000])('%i bytes go to the database and come back', async (length) => {
  const bytes = randomBytes(length)
  const text =
    'select 1 as one, $1::bytea as bytes, $2::text as two, length($1::bytea) as length, null::bytea as none'
  for (let time = 0; time < 3; time++) {
    expect(await ask(text, [bytes, 'a'])).toMatchObject([{ one: 1, bytes, two: 'a', length, none: null }])
  }
})

it('any array of bytes will do, and none of them', async () => {
  const whole = new Uint8Array([1, 2, 3, 4, 5])
  for (const bytes of [whole, whole.subarray(1, 3), Buffer.from('ab'), new Uint8Array(), null]) {
    for (let time = 0; time < 2; time++) {
      const [row] = await ask<{ bytes: Uint8Array | null }>('select $1::bytea as bytes', [bytes])
      expect(row?.bytes && [...row.bytes]).toEqual(bytes && [...bytes])
    }
  }
})

it('what is kept of an answer does not keep the rest of it', async () => {
  const text = "select '\\x0102'::bytea as bytes, repeat('x', 60000) as rest"
  for (let time = 0; time < 2; time++) {
    const [row] = await ask<{ bytes: Buffer }>(text)
    expect(row?.bytes).toEqual(Buffer.from([1, 2]))
    expect(row?.bytes.buffer.byteLength).toBeLessThan(60_000)
  }
})

it('bytes in text and in lists are what they were', async () => {
  for (let time = 0; time < 2; time++) {
    expect(await ask('select $1::text as text', ['\\x0102'])).toEqual([{ text: '\\x0102' }])
    expect(await ask('select array[$1::bytea] as list', [Buffer.from([1])])).toEqual([
      { list: [Buffer.from([1])] },
    ])
  }
})

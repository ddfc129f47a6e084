/** The least that a GET under row-level security can be: the database's part alone, one prepared call. */

import postgres from '#postgres'
import type { DatabaseAddress } from '../strongroom.ts'
import { answerWithRate, argument, tell } from './child.ts'

const { database, connections, values } = argument<{
  database: DatabaseAddress
  connections: number
  /** The arguments of storage.read_row, as the server passes them. */
  values: (string | null)[]
}>()
const sql = postgres({ ...database, username: 'strongroom_server', pass: '', max: connections })

const CALL = `select * from storage.read_row(${values.map((_, index) => `$${index + 1}`).join(', ')})`

async function read() {
  const rows = await sql.unsafe(CALL, values, { prepare: true })
  if (rows[0]?.id == null) throw new Error('the row was not found')
}

await read()
answerWithRate(read)
tell('ready')

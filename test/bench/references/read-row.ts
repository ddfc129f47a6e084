/** The least that a GET under row-level security can be: the database's part alone, one prepared call. */

import postgres from '#postgres'
import type { DatabaseAddress } from '../strongroom.ts'
import { answerWithRate, argument, tell } from './child.ts'

const { database, connections, values } = argument<{
  database: DatabaseAddress
  connections: number
  /** The arguments of storage.read_object, as the server passes them. */
  values: string[]
}>()
const sql = postgres({ ...database, username: 'strongroom_server', pass: '', max: connections })

async function read() {
  const rows = await sql`
    select * from storage.read_object(${values[0] ?? ''}, ${values[1] ?? ''}, ${values[2] ?? ''}, ${values[3] ?? ''})`
  if (rows[0]?.id == null) throw new Error('the row was not found')
}

await read()
answerWithRate(read)
tell('ready')

import type postgres from '#postgres'
import { inOurErrors } from './postgres-error.ts'

/**
 * Takes a turn, such as the cleanup's, for the session behind `sql`: of all servers on the database one has it, until
 * the session ends or gives it back. The same session may have it twice: whoever asks keeps its own work apart.
 *
 * @param sql one connection
 * @param waits asks again until it gets the turn, and is the next to get it
 * @returns false when another session has it, or waits for it
 * @throws DatabaseUnavailable
 */
export async function takeTurn(sql: postgres.Sql, turn: string, waits = false): Promise<boolean> {
  const [row] = await inOurErrors(
    sql<{ taken: boolean }[]>`select storage.take_turn(${turn}, ${waits}) as taken`,
  )
  return row?.taken ?? false
}

/** Gives a turn back; one that the session has not is a success. */
export async function endTurn(sql: postgres.Sql, turn: string): Promise<void> {
  await sql`select storage.end_turn(${turn})`
}

/** Forgets the turns of sessions that have ended, which are nobody's, and says how many. @throws DatabaseUnavailable */
export async function forgetTurns(sql: postgres.Sql): Promise<number> {
  const [row] = await inOurErrors(sql<{ count: string }[]>`select storage.forget_turns() as count`)
  return Number(row?.count)
}

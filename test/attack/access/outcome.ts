import type { Cell } from './world.ts'

/** What a caller is told: a status, or `empty` when it is one of success and shows or does nothing. */
export type Outcome = number | 'empty'

export type Operation = (cell: Cell) => Promise<Outcome>

/** Succeeds only with what it should show. */
export async function shows(text: string, response: Response): Promise<Outcome> {
  const isEmpty = response.ok && !(await response.clone().text()).includes(text)
  return isEmpty ? 'empty' : outcomeOf(response)
}

/** The status; as Supabase's clients know it, where it is 400 for nearly all and the body has the true one. */
export async function outcomeOf(response: Response): Promise<Outcome> {
  const [, inBody] = /"statusCode":"(\d{3})"/.exec(await response.text()) ?? []
  return Number(inBody ?? response.status)
}

export const status = async (response: Promise<Response>): Promise<Outcome> => outcomeOf(await response)

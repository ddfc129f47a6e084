import { existsSync, readFileSync } from 'node:fs'

/** What the recorder has written down, in the order in which it happened, of all processes that shared a journal. */
export type JournalRecord = Call | Outcome

/** A call begins. Paths are absolute. */
export type Call = { id: string } & (
  | { call: 'create' | 'open' | 'mkdir' | 'remove'; path: string }
  | { call: 'link' | 'rename'; path: string; to: string }
  /** `of` is the call that opened the file or folder. */
  | { call: 'write' | 'sync'; of: string }
  | { call: 'truncate'; of: string; length: number }
)

/** It ends; a call without an outcome was running when the power failed. */
export type Outcome =
  /** Of `create` and `write` the number of bytes; of `mkdir` the outermost folder that it made, if any. */
  { id: string; result: number | string | null } | { id: string; error: string }

export function readJournal(path: string): JournalRecord[] {
  if (!existsSync(path)) return []
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as JournalRecord)
}

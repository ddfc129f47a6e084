import { readFileSync } from 'node:fs'
import type { BucketPolicy } from '../../../src/database/schema.ts'
import { CALLERS } from './world.ts'

export interface Row {
  policy: BucketPolicy
  operation: string
  /** In the order of the callers. */
  outcomes: string[]
}

/** The cells of a table: a line `## <policy>` begins a part of it, and columns stand two blanks apart. */
export function readTable(file: URL): Row[] {
  const rows: Row[] = []
  let policy: BucketPolicy = 'private'
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const part = /^## (private|authenticated|public)$/.exec(line)
    if (part) policy = part[1] as BucketPolicy
    const [operation = '', ...outcomes] = line.trimEnd().split(/ {2,}/)
    if (outcomes.length === CALLERS.length) rows.push({ policy, operation, outcomes })
  }
  return rows.filter(({ operation }) => operation !== 'operation')
}

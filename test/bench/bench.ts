/**
 * `npm run bench`: the budgets of design §11, each beside its bare reference, in one run. Server, reference and
 * load are processes of their own, and everything is in a temporary folder that is gone afterwards.
 */

import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Family } from './family.ts'
import { loadGenerator } from './load.ts'
import { stopAll } from './processes.ts'
import { type Row, table, writeResults } from './results.ts'
import { events } from './rows/events.ts'
import { largeGet } from './rows/large-get.ts'
import { largePut } from './rows/large-put.ts'
import { list } from './rows/list.ts'
import { memory } from './rows/memory.ts'
import { resumable } from './rows/resumable.ts'
import { smallGetPublic } from './rows/small-get-public.ts'
import { smallGetRls } from './rows/small-get-rls.ts'
import { smallUpload } from './rows/small-upload.ts'
import { sweep } from './rows/sweep.ts'

const FAMILIES: Record<string, Family> = {
  'get-public': smallGetPublic,
  'get-rls': smallGetRls,
  upload: smallUpload,
  'large-get': largeGet,
  'large-put': largePut,
  resumable,
  list,
  memory,
  events,
  sweep,
}

const names = Object.keys(FAMILIES).join(', ')
const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (flags.help) {
  console.log(`npm run bench -- [--quick] [--rounds N] [--only NAME,…]\nNAME is one of ${names}`)
  process.exit()
}
const wanted = flags.only?.split(',') ?? Object.keys(FAMILIES)
const unknown = wanted.filter((name) => !(name in FAMILIES))
if (unknown.length > 0) throw new Error(`--only ${unknown.join(',')}: there is ${names}`)
const rounds = Number(flags.rounds ?? (flags.quick ? 3 : 5))
if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds wants a whole number from 1')

const folder = await mkdtemp(join(tmpdir(), 'strongroom-bench-'))
// The embedded database of a root server runs as another user, who has to get in.
await chmod(folder, 0o755)
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    interrupted = true
    void cleanUp().finally(() => process.exit(1))
  })
}
const rows: Row[] = []
try {
  for (const name of wanted) {
    const say = (text: string) => process.stderr.write(`${name}: ${text}\n`)
    if (interrupted) break
    say('starting')
    try {
      rows.push(...((await FAMILIES[name]?.({ folder, quick: flags.quick, rounds, say })) ?? []))
    } catch (error) {
      say(error instanceof Error ? (error.stack ?? error.message) : String(error))
      rows.push({ work: name, failed: 'see above' })
      await stopAll()
    }
  }
} finally {
  await cleanUp()
}
const load = await loadGenerator()
console.log(`\n${table(rows)}\n\nMedians of ${rounds} rounds; small requests sent by ${load}.`)
if (rows.some((row) => 'failed' in row)) process.exitCode = 1
await writeResults('bench-results.json', rows, { quick: flags.quick, rounds, load })

async function cleanUp(): Promise<void> {
  await stopAll()
  await rm(folder, { recursive: true, force: true })
}

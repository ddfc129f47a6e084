/**
 * `npm run bench`: the budgets of design §11 and more, each beside its bare reference or another server, in one
 * run. Server, reference and load are processes of their own, and everything is in a temporary folder that is gone
 * afterwards.
 */

import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chart } from './chart.ts'
import { buildCommit, type EarlierBuild, findCommit } from './earlier-build.ts'
import { FAMILIES } from './families.ts'
import { loadGenerator } from './load.ts'
import { OptionError, readOptions } from './options.ts'
import { stopAll, stopForGood } from './processes.ts'
import { isMet, type Report, type Row, table, writeReport } from './results.ts'
import { openTarget } from './stores.ts'

const names = Object.keys(FAMILIES)
const HELP = `npm run bench -- [options]

  --only NAME,…   only these rows
  --quick         smaller and shorter, for a look; the numbers are then worth less
  --rounds N      how often each contestant has its turn: 5, or 3 if quick
  --objects N     how many a large bucket has where lists are measured: 1000000, or 100000 if quick; 10000000 at most,
                  which take 20 GB and a quarter of an hour
  --target URL    stand beside another server with the same API, such as http://127.0.0.1:5000 or
                  …/storage/v1, and not beside the references. BENCH_SERVICE_KEY is its service key, and
                  BENCH_USER_TOKEN a token of a user who may read and write in its buckets bench-…; without
                  the latter all rows are by the service role. * are skipped.
  --against REF   stand beside the build of another commit, such as HEAD~1, in short rounds: 12, or 6 if quick. A row
                  that is more than 5 % slower, beyond the noise of its rounds, is SLOWER, and red on a terminal; one
                  such row ends the bench with 1. * are skipped.
  --chart FILE    draw the rows whose budget is a share of their reference's speed, into this SVG
  --from FILE     measure nothing: draw what an earlier run has written, such as bench-results.json
  --help          this

${names.map((name) => `  ${name.padEnd(13)}${FAMILIES[name]?.needsOwnServer ? '*' : ' '} ${FAMILIES[name]?.shows}`).join('\n')}

The table goes to stdout, every round's figures to bench-results.json.`

const { options, target, commit } = await begun().catch((error) => {
  if (!(error instanceof OptionError)) throw error
  console.error(error.message)
  process.exit(2)
})
const { quick, rounds } = options
if (options.from !== undefined) {
  await draw(JSON.parse(await readFile(options.from, 'utf8')))
  process.exit()
}
const folder = await mkdtemp(join(tmpdir(), 'strongroom-bench-'))
let isOver: Promise<void> | undefined
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => void cleanUp().finally(() => process.exit(1)))
}
process.on('uncaughtException', (error) => {
  console.error(error)
  void cleanUp().finally(() => process.exit(1))
})

// The embedded database of a root server runs as another user, who has to get in.
await chmod(folder, 0o755)
const rows: Row[] = []
let earlier: EarlierBuild | undefined
try {
  if (options.against !== undefined && commit !== undefined) {
    process.stderr.write(`building ${options.against}\n`)
    earlier = await buildCommit(options.against, commit, folder)
  }
  for (const name of options.only) {
    if (isOver) break
    rows.push(...(await measured(name)))
  }
} finally {
  await cleanUp()
}
const load = await loadGenerator()
// A pipe or a file has no colours, nor has a terminal where NO_COLOR is set.
const isColored = process.stdout.isTTY && process.stdout.hasColors()
console.log(`\n${table(rows, isColored)}\n\nMedians of ${rounds} rounds; small requests sent by ${load}.`)
if (rows.some((row) => 'failed' in row)) process.exitCode = 1
if (earlier && rows.some((row) => 'ours' in row && isMet(row) === false)) process.exitCode = 1
await draw(
  await writeReport('bench-results.json', rows, {
    ...{ quick, rounds, load, target: options.target?.url, against: earlier?.name },
  }),
)

async function draw(report: Report): Promise<void> {
  if (options.chart !== undefined) await writeFile(options.chart, chart(report))
}

async function measured(name: string): Promise<Row[]> {
  const family = FAMILIES[name]
  const say = (text: string) => process.stderr.write(`${name}: ${text}\n`)
  if (family === undefined) return [] // options are checked
  if ((target || earlier) && family.needsOwnServer)
    return [{ work: name, skipped: 'needs a server of its own' }]
  say('starting')
  try {
    return await family.measure({ folder, quick, rounds, objects: options.objects, target, earlier, say })
  } catch (error) {
    if (!isOver) say(error instanceof Error ? (error.stack ?? error.message) : String(error))
    return [{ work: name, failed: 'see above' }]
  } finally {
    await stopAll()
  }
}

/** Once; who asks again waits for the same. */
function cleanUp(): Promise<void> {
  isOver ??= (async () => {
    await stopForGood()
    await rm(folder, { recursive: true, force: true })
    await target?.deleteBuckets()
  })()
  return isOver
}

/** @throws OptionError */
async function begun() {
  const options = readOptions(process.argv.slice(2), process.env, names)
  if (options.help) {
    console.log(HELP)
    process.exit()
  }
  const target = options.target && (await openTarget(options.target))
  const commit = options.against === undefined ? undefined : await findCommit(options.against)
  return { options, target, commit }
}

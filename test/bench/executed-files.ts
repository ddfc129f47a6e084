/**
 * `npm run bench:files [-- --against REF]`: the files of ours that every upload and every read runs, here and in another
 * commit, each with its functions that do. What is done by a timer, or once for several requests, does not count.
 */

import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { forEachConcurrent } from '../../src/lib/concurrency.ts'
import { Coverage, type ScriptCoverage } from './coverage.ts'
import { buildCommit, findCommit } from './earlier-build.ts'
import { freePort, stopForGood } from './processes.ts'
import { MAIN, type Strongroom, startStrongroom } from './strongroom.ts'

/** Of each kind, before any is counted: statements are prepared then, folders made, and tokens known. */
const WARM_UP = 40

/** Of each kind. What a function does for every request, it does so often at the least. */
const COUNTED = 400

/** More are sent than are counted: of the last ones nobody has heard yet that they are over. */
const SENT = COUNTED + 10

/**
 * Requests at once, so that what follows several of them is done once: the ordering of events. As many as one connection
 * takes; if the machine has much else to do, some take another way to the database, and the usual one does not count.
 */
const AT_ONCE = 16

const BODY = 'x'.repeat(4096)

const REQUESTS: Record<string, (server: Strongroom, name: string) => Promise<void>> = {
  'an upload of 4 KiB': (server, name) => asUser(server, `box/${name}`, { method: 'POST', body: BODY }),
  'a read of it under RLS': (server, name) => asUser(server, `authenticated/box/${name}`, {}),
}

const { against } = parseArgs({ options: { against: { type: 'string' } } }).values
const folder = await mkdtemp(join(tmpdir(), 'strongroom-files-'))
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => void cleanUp().finally(() => process.exit(1)))
}
// The embedded database of a root server runs as another user, who has to get in.
await chmod(folder, 0o755)
try {
  await report('this build', MAIN)
  if (against !== undefined) {
    const { name, main } = await buildCommit(against, await findCommit(against), folder)
    await report(name, main)
  }
} finally {
  await cleanUp()
}

async function cleanUp(): Promise<void> {
  await stopForGood()
  await rm(folder, { recursive: true, force: true })
}

async function report(name: string, main: string): Promise<void> {
  const port = await freePort()
  const server = await startStrongroom(folder, 'data', { main, nodeOptions: [`--inspect=127.0.0.1:${port}`] })
  const coverage = await Coverage.begin(port)
  await server.createBucket('box', 'authenticated')
  for (const [work, request] of Object.entries(REQUESTS)) {
    await forEachConcurrent(AT_ONCE, numbers(WARM_UP), (n) => request(server, `warm-${n}`))
    await coverage.take()
    await forEachConcurrent(AT_ONCE, numbers(SENT), (n) => request(server, `${n}`))
    const files = ranForEach(await coverage.take(), `${pathToFileURL(dirname(main))}/`)
    console.log(`\n${name}, ${work}: ${files.size} files`)
    for (const [file, functions] of files) console.log(`  ${file.padEnd(46)} ${functions.join(', ')}`)
  }
  coverage.end()
  await server.stop()
}

async function asUser({ api, userToken }: Strongroom, path: string, init: RequestInit): Promise<void> {
  const headers = { authorization: `Bearer ${userToken}`, 'content-type': 'text/plain' }
  const answer = await fetch(`${api.base}/object/${path}`, { ...init, headers })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`)
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}

/** By file below `root`: the functions that have run for each request. */
function ranForEach(scripts: ScriptCoverage[], root: string): Map<string, string[]> {
  const files = new Map<string, string[]>()
  for (const { url, functions } of scripts) {
    const ran = functions.filter(({ ranges: [whole] }) => whole !== undefined && whole.count >= COUNTED)
    if (url.startsWith(root) && ran.length > 0) {
      files.set(
        url.slice(root.length),
        ran.map(({ functionName }) => functionName || '=>'),
      )
    }
  }
  return new Map([...files].sort())
}

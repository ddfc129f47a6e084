/**
 * How a recovering PostgreSQL gets the log from us, one segment at a time, so that a long log needs no room on its disk.
 * Its `restore_command` puts the name that it wants into the folder `asked`, and waits for an answer in `given`:
 *
 *     asked/<name>.<process>       PostgreSQL's user writes here
 *     given/fetch                  the command
 *     given/<name>.<process>       the segment, whole when it has this name
 *     given/<name>.<process>.none  there is none
 *
 * Both folders stand beside the cluster, and are named from there, so that no path needs quotes. Only `asked` is that
 * user's: we may be root, and through a link they could have us write anywhere.
 */

import { createWriteStream } from 'node:fs'
import { chmod, chown, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { POLL_MS } from './postmaster.ts'
import { type Account, isRoot } from './system-account.ts'

/** What may be asked for: a segment or a history, and who asks. */
const REQUEST = /^([0-9A-F]{24}|[0-9A-F]{8}\.history)\.\d+$/

/** PostgreSQL runs it where the cluster is. Its answer above 125 ends the recovery; any other says that this is all there is. */
export const RESTORE_COMMAND = 'sh ../given/fetch %f %p'

/**
 * @param pid who answers; when that process is gone, so is the log
 * (https://www.postgresql.org/docs/18/runtime-config-wal.html#GUC-RESTORE-COMMAND)
 */
function fetchScript(pid: number): string {
  return `# Asks the process that restores for a file of the log: $1, to be put at $2.
request="$1.$$"
: > "../asked/$request" || exit 255
until test -e "../given/$request" || test -e "../given/$request.none"; do
  test -d /proc/${pid} || ps -p ${pid} > /dev/null 2>&1 || exit 255
  sleep 0.02
done
answer=1
if test -e "../given/$request"; then
  answer=255
  cp "../given/$request" "$2" && answer=0
fi
rm "../asked/$request" || exit 255
exit $answer
`
}

/** Gives a segment or a history of the log by its name; null when there is none. */
export type GiveSegment = (name: string) => Promise<Readable | null>

/** Makes both folders in `folder`. */
export async function prepareFolders(folder: string, account: Account): Promise<void> {
  await mkdir(join(folder, 'asked'), { mode: 0o700 })
  if (isRoot()) await chown(join(folder, 'asked'), account.uid, account.gid)
  await mkdir(join(folder, 'given'))
  await chmod(join(folder, 'given'), 0o755)
  await writeFile(join(folder, 'given/fetch'), fetchScript(process.pid))
  await chmod(join(folder, 'given/fetch'), 0o644)
}

/**
 * Answers until the signal is aborted.
 *
 * @throws what `give` throws; PostgreSQL waits for its answer then, and is to be stopped
 */
export async function answerRequests(folder: string, give: GiveSegment, signal: AbortSignal): Promise<void> {
  const answered = new Set<string>()
  while (!signal.aborted) {
    const requests = new Set(await readdir(join(folder, 'asked')))
    for (const request of answered) {
      if (requests.has(request)) continue
      await rm(join(folder, 'given', request), { force: true })
      await rm(join(folder, 'given', `${request}.none`), { force: true })
      answered.delete(request)
    }
    for (const request of requests) {
      const [, name] = REQUEST.exec(request) ?? []
      if (name === undefined || answered.has(request)) continue
      await answer(join(folder, 'given', request), await give(name), signal)
      answered.add(request)
    }
    await delay(POLL_MS, undefined, { signal }).catch(() => {})
  }
}

async function answer(path: string, content: Readable | null, signal: AbortSignal): Promise<void> {
  if (content === null) return writeFile(`${path}.none`, '')
  await pipeline(content, createWriteStream(`${path}.part`, { mode: 0o644 }), { signal })
  await chmod(`${path}.part`, 0o644) // whatever our umask
  await rename(`${path}.part`, path)
}

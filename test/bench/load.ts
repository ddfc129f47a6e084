import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Load {
  url: string
  headers?: Record<string, string>
  seconds: number
  /** Sends this text by POST, each time to another name: `url` with a number behind it. */
  uploads?: string
}

/** How many requests are on their way at any moment; the references use as many. */
export const IN_FLIGHT = 16

/**
 * Small requests, as many as the server answers. By `wrk` if it is installed: it takes less of the processor
 * away from the server than a client in JavaScript does.
 *
 * @param folder for wrk's script
 * @returns answers per second
 * @throws when one of the answers is no success
 */
export async function requestsPerSecond(load: Load, folder: string): Promise<number> {
  return (await hasWrk()) ? byWrk(load, folder) : byAutocannon(load)
}

export async function loadGenerator(): Promise<string> {
  return (await hasWrk()) ? 'wrk' : 'autocannon'
}

async function hasWrk(): Promise<boolean> {
  // It prints its version and ends with 1.
  return run('wrk', ['--version']).then(
    () => true,
    (error) => error.code !== 'ENOENT',
  )
}

async function byWrk({ url, headers = {}, seconds, uploads }: Load, folder: string): Promise<number> {
  const { origin, pathname } = new URL(url)
  const lines = Object.entries(headers).map(
    ([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`,
  )
  if (uploads !== undefined) {
    lines.push(
      `local body = ${JSON.stringify(uploads)}`,
      'local count = 0',
      'request = function()',
      '  count = count + 1',
      `  return wrk.format("POST", ${JSON.stringify(pathname)} .. count, nil, body)`,
      'end',
    )
  }
  const script = join(folder, 'load.lua')
  await writeFile(script, lines.join('\n'))
  const target = uploads === undefined ? url : origin
  const { stdout } = await run('wrk', [
    `--connections=${IN_FLIGHT}`,
    '--threads=1',
    `--duration=${seconds}s`,
    `--script=${script}`,
    target,
  ])
  const perSecond = /Requests\/sec: +([\d.]+)/.exec(stdout)?.[1]
  const failures = /Non-2xx or 3xx responses: \d+|Socket errors: .*/.exec(stdout)?.[0]
  if (perSecond === undefined || failures !== undefined) {
    throw new Error(`wrk of ${url}: ${failures ?? stdout}`)
  }
  return Number(perSecond)
}

async function byAutocannon({ url, headers = {}, seconds, uploads }: Load): Promise<number> {
  const { default: autocannon } = await import('autocannon')
  const { pathname } = new URL(url)
  let count = 0
  const result = await autocannon({
    url,
    connections: IN_FLIGHT,
    duration: seconds,
    headers,
    method: uploads === undefined ? 'GET' : 'POST',
    ...(uploads !== undefined && {
      body: uploads,
      requests: [{ setupRequest: (request) => ({ ...request, path: `${pathname}${++count}` }) }],
    }),
  })
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`autocannon of ${url}: ${result.non2xx} refused, ${result.errors} failed`)
  }
  return result.requests.total / result.duration
}

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startProgram } from './processes.ts'

export interface Load {
  url: string
  /** GET if nothing else. */
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  headers?: Record<string, string>
  /** ASCII. */
  body?: string
  /** Each request goes to `url` with the next number behind it: from 1 to this, and again from 1. */
  numberedTo?: number
  /** Requests that take turns, in place of `url` and `headers`: on the same server, each with headers of its own. */
  inTurn?: Pick<Load, 'url' | 'headers'>[]
  /** How many requests are on their way at any moment: IN_FLIGHT if nothing else. */
  inFlight?: number
  /** How long, or how many in all. */
  lasts: { seconds: number } | { requests: number }
}

/** How many requests are on their way at any moment; the references use as many. */
export const IN_FLIGHT = 16

/** As many as there are clients where a small object costs most, and where one of them may wait for the others. */
export const MANY_IN_FLIGHT = 32

/** For names that are all new. */
export const FOR_EVER = 2 ** 52

/** What answers there were. */
export interface Answered {
  perSecond: number
  /** So long, in milliseconds, did all but one in a hundred take at most. */
  p99: number
}

/**
 * Small requests, as many as the server answers.
 *
 * @returns answers per second
 * @throws as `answered`
 */
export async function requestsPerSecond(load: Load, folder: string): Promise<number> {
  return (await answered(load, folder)).perSecond
}

/** The same requests. @returns how long all but one in a hundred took at most, in milliseconds @throws as `answered` */
export async function p99(load: Load, folder: string): Promise<number> {
  return (await answered(load, folder)).p99
}

/**
 * By `wrk` if it is installed: it takes less of the processor away from the server than a client in JavaScript does. It
 * cannot send a given number of requests, though.
 *
 * @param folder for wrk's script
 * @throws when one of the answers is no success; 304 is one
 */
export async function answered(load: Load, folder: string): Promise<Answered> {
  const { lasts } = load
  return 'seconds' in lasts && (await hasWrk())
    ? byWrk(load, lasts.seconds, folder)
    : byAutocannon(load, lasts)
}

export async function loadGenerator(): Promise<string> {
  return (await hasWrk()) ? 'wrk' : 'autocannon'
}

async function hasWrk(): Promise<boolean> {
  // It prints its version and ends with 1.
  return promisify(execFile)('wrk', ['--version']).then(
    () => true,
    (error) => error.code !== 'ENOENT',
  )
}

async function byWrk(load: Load, seconds: number, folder: string): Promise<Answered> {
  const script = join(folder, 'load.lua')
  const log = join(folder, 'wrk.log')
  await rm(log, { force: true })
  await writeFile(script, luaScript(load))
  const wrk = await startProgram(
    [
      'wrk',
      `--connections=${load.inFlight ?? IN_FLIGHT}`,
      '--threads=1',
      '--timeout=30s',
      '--latency',
      `--duration=${seconds}s`,
      `--script=${script}`,
      load.url,
    ],
    { log },
  )
  await wrk.ended
  await wrk.stop()
  const said = await readFile(log, 'utf8')
  const perSecond = /Requests\/sec: +([\d.]+)/.exec(said)?.[1]
  const tail = /99% +([\d.]+)(us|ms|s)/.exec(said)
  const failures = /Non-2xx or 3xx responses: \d+|Socket errors: .*/.exec(said)?.[0]
  if (perSecond === undefined || tail === null || failures !== undefined) {
    throw new Error(`wrk of ${load.url}: ${failures ?? said}`)
  }
  return { perSecond: Number(perSecond), p99: Number(tail[1]) * (MILLISECONDS[tail[2] ?? ''] ?? Number.NaN) }
}

/** In each unit that wrk has for a time. */
const MILLISECONDS: Record<string, number> = { us: 0.001, ms: 1, s: 1000 }

/** The literals are JSON's, which Lua reads alike as long as they are ASCII. */
function luaScript({ url, method = 'GET', headers = {}, body, numberedTo, inTurn }: Load): string {
  const { pathname } = new URL(url)
  const lines = [`wrk.method = "${method}"`]
  for (const entry of luaEntries(headers)) lines.push(`wrk.headers${entry}`)
  if (body !== undefined) lines.push(`wrk.body = ${JSON.stringify(body)}`)
  if (numberedTo !== undefined) {
    lines.push(
      'local count = 0',
      'request = function()',
      `  count = count % ${numberedTo} + 1`,
      `  return wrk.format(nil, ${JSON.stringify(pathname)} .. string.format("%d", count))`,
      'end',
    )
  }
  if (inTurn !== undefined) {
    lines.push('local count = 0', 'local turns = {}')
    for (const turn of inTurn) {
      const { pathname, search } = new URL(turn.url)
      const own = luaEntries(turn.headers).join(', ')
      lines.push(`turns[#turns + 1] = { ${JSON.stringify(`${pathname}${search}`)}, { ${own} } }`)
    }
    lines.push(
      'request = function()',
      '  count = count % #turns + 1',
      '  return wrk.format(nil, turns[count][1], turns[count][2])',
      'end',
    )
  }
  return lines.join('\n')
}

/** As they stand in a table, and behind its name. */
function luaEntries(headers: Record<string, string> = {}): string[] {
  return Object.entries(headers).map(
    ([name, value]) => `[${JSON.stringify(name)}] = ${JSON.stringify(value)}`,
  )
}

async function byAutocannon(load: Load, lasts: Load['lasts']): Promise<Answered> {
  const { url, method = 'GET', headers = {}, body, numberedTo, inTurn, inFlight = IN_FLIGHT } = load
  const { default: autocannon } = await import('autocannon')
  const { pathname } = new URL(url)
  let count = 0
  let answers = 0
  const unexpected = new Map<number, number>()
  const startedAt = performance.now()
  let endedAt = startedAt
  const running = autocannon({
    url,
    connections: inFlight,
    ...('seconds' in lasts ? { duration: lasts.seconds } : { amount: lasts.requests }),
    timeout: 30,
    headers,
    method,
    ...(body !== undefined && { body }),
    ...(numberedTo !== undefined && {
      requests: [
        {
          setupRequest: (request) => {
            count = (count % numberedTo) + 1
            return { ...request, path: `${pathname}${count}` }
          },
        },
      ],
    }),
    ...(inTurn !== undefined && {
      requests: [
        {
          setupRequest: (request) => {
            const turn = inTurn[count++ % inTurn.length] ?? load
            const { pathname, search } = new URL(turn.url)
            return { ...request, path: `${pathname}${search}`, headers: { ...turn.headers } }
          },
        },
      ],
    }),
  })
  running.on('response', (_client, status) => {
    answers++
    endedAt = performance.now() // it only looks once a second whether it is done
    if (status >= 400) unexpected.set(status, (unexpected.get(status) ?? 0) + 1)
  })
  const [{ errors, latency }] = await once(running, 'done')
  if (unexpected.size > 0 || errors > 0) {
    const refused = [...unexpected].map(([status, times]) => `${times} × ${status}, `).join('')
    throw new Error(`autocannon of ${url}: ${refused}${errors} failed`)
  }
  return { perSecond: answers / ((endedAt - startedAt) / 1000), p99: latency.p99 }
}

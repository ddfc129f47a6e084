import pino, { type Logger, type LoggerOptions } from 'pino'
import { SERVICE_NAME } from '../model/service-name.ts'
import { GatheredLines } from './gathered-lines.ts'
import { forTerminal } from './terminal-log.ts'

/** What must never be read in a log, wherever it turns up in an object that is logged. */
const REDACTED = [
  'token',
  'authorization',
  'apikey',
  'password',
  '*.token',
  '*.authorization',
  '*.apikey',
  '*.password',
  'err.parameters',
  'err.query',
  'err.args',
]

/** What a pipe takes in one piece, even if several processes write to it; in bytes (POSIX, PIPE_BUF on Linux). */
const ATOMIC_WRITE = 4096

/** Lines are written together: a write for each would be a tenth of what a small request costs. In bytes. */
const GATHERED = 8 * 1024

/** No line waits for longer, and none at the end of the process. In milliseconds. */
const FLUSH_MS = 100

export interface LogOptions {
  /** Where to: stdout, or stderr for a command whose output is something else. */
  stream?: NodeJS.WriteStream
  /** Whether several processes of one server write there: each line says whose it is, and none is torn by another. */
  isShared?: boolean
  /** What a line says besides, asked for each. */
  more?: () => object
}

/** JSON lines, or lines for a human on a terminal. */
export function createLogger(
  level: string,
  { stream = process.stdout, isShared = false, more }: LogOptions = {},
): Logger {
  const options: LoggerOptions = {
    level,
    base: { service: SERVICE_NAME, ...(isShared && { pid: process.pid }) },
    redact: { paths: REDACTED, censor: '[hidden]' },
    timestamp: isoClock(),
    formatters: { level: (word) => ({ level: word }) },
    ...(more && { mixin: more }),
  }
  const { fd } = stream as NodeJS.WriteStream & { fd: number }
  if (!stream.isTTY) {
    if (fd === 2) return pino(options, pino.destination({ dest: fd, sync: true }))
    return pino(options, gathered(fd, isShared ? ATOMIC_WRITE : GATHERED))
  }
  const terminal = pino.destination({ dest: fd, sync: true })
  return pino(options, { write: (line) => terminal.write(forTerminal(line)) })
}

/** Lines that are written together; none is left at the end of the process. */
function gathered(fd: number, bytes: number): GatheredLines {
  let lines: GatheredLines | undefined
  // Before those of the destination, which takes nothing any more from then on.
  process.once('beforeExit', () => lines?.flush())
  process.once('exit', () => lines?.flushSync())
  lines = new GatheredLines(pino.destination({ dest: fd, sync: false, maxWrite: bytes }), {
    bytes,
    waitMs: FLUSH_MS,
  })
  return lines
}

/** A line's time as pino wants it, to the millisecond, in UTC (RFC 3339). Of each second only the end is made anew. */
function isoClock(): () => string {
  let second = Number.NaN
  let start = ''
  return () => {
    const now = Date.now()
    const ms = now % 1000
    if (now - ms !== second) {
      second = now - ms
      start = `,"time":"${new Date(second).toISOString().slice(0, -'000Z'.length)}`
    }
    return `${start}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z"`
  }
}

/** Lets Node's and libraries' warnings go into the log: among its lines on stderr they would be none of JSON. */
export function logWarnings(logger: Logger): void {
  if (process.env.NODE_NO_WARNINGS === '1') return
  process.removeAllListeners('warning') // Node's own, which writes them
  process.on('warning', (warning) => logger.warn({ err: warning }, warning.message))
}

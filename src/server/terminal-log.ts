import { printable } from '../lib/printable.ts'
import { formatByteSize } from '../lib/units.ts'

/** What pino writes, and what ours say besides. */
interface LogLine {
  /** ISO 8601, in UTC. */
  time: string
  level: string
  msg?: string
  err?: { message?: string; stack?: string }
  [field: string]: unknown
}

/** The levels that are worth a word. */
const WORDS: Record<string, string> = { warn: 'warning: ', error: 'error: ', fatal: 'fatal: ' }

/** Of a message or a line of a stack, in characters. */
const MOST_SHOWN = 1000

/**
 * A line of the log for a human, as `22:01:03 201 PUT photos/cats/tom.txt 13 B service_role 127 ms`. Names of others
 * cannot move the cursor, or make a line of their own.
 *
 * @param json as pino writes it
 */
export function forTerminal(json: string): string {
  const line = JSON.parse(json) as LogLine
  const isRequest = line.msg === 'request' && typeof line.status === 'number'
  return `${clock(line.time)} ${isRequest ? request(line) : statement(line)}\n`
}

function request(line: LogLine): string {
  const { status, method, url, bucket, path, size, role, duration_ms: ms, aborted } = line
  const target = bucket === undefined ? url : [bucket, path].filter((part) => part !== undefined).join('/')
  return [
    status,
    method,
    printable(String(target), MOST_SHOWN),
    typeof size === 'number' ? formatByteSize(size) : undefined,
    role === undefined ? undefined : printable(String(role)),
    `${Number(ms) < 10 ? ms : Math.round(Number(ms))} ms`,
    aborted ? 'aborted' : undefined,
  ]
    .filter((part) => part !== undefined)
    .join(' ')
}

function statement({ time, level, service, msg = '', err, pid, ...fields }: LogLine): string {
  const isSaid = (value: unknown) => typeof value === 'string' && msg.includes(value)
  const details = Object.entries(fields)
    .filter(([, value]) => !isSaid(value))
    .map(([name, value]) => `${name} ${shown(value)}`)
  const first = `${WORDS[level] ?? ''}${printable(msg, MOST_SHOWN)}`
  const stack = err?.stack ?? err?.message
  return [
    details.length === 0 ? first : `${first} (${details.join(', ')})`,
    ...(stack === undefined ? [] : stack.split('\n').map((text) => `  ${printable(text, MOST_SHOWN)}`)),
  ].join('\n')
}

function shown(value: unknown): string {
  return printable(typeof value === 'string' ? value : JSON.stringify(value), MOST_SHOWN)
}

/** In the time zone of the terminal. */
function clock(time: string): string {
  const at = new Date(time)
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':')
}

import pino, { type Logger } from 'pino'
import pretty from 'pino-pretty'

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

/** JSON lines on stdout, or lines for a human on a terminal. */
export function createLogger(level: string): Logger {
  const options = { level, base: null, redact: { paths: REDACTED, censor: '[hidden]' } }
  if (!process.stdout.isTTY) return pino(options, pino.destination({ dest: 1, sync: false }))
  return pino(options, pretty({ sync: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' }))
}

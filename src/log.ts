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

/**
 * JSON lines, or lines for a human on a terminal.
 *
 * @param stream where to: stdout, or stderr for a command whose output is something else
 */
export function createLogger(level: string, stream: NodeJS.WriteStream = process.stdout): Logger {
  const options = { level, base: null, redact: { paths: REDACTED, censor: '[hidden]' } }
  const { fd } = stream as NodeJS.WriteStream & { fd: number }
  if (!stream.isTTY) return pino(options, pino.destination({ dest: fd, sync: fd === 2 }))
  return pino(
    options,
    pretty({ destination: fd, sync: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' }),
  )
}

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { readConfig } from '../config.ts'
import { createLogger } from '../log.ts'
import { type RunningServer, startServer } from '../server.ts'

/** A second signal this long after the first one means that somebody is tired of waiting. In milliseconds. */
const IMPATIENT_AFTER_MS = 1000

/** Serves until SIGINT or SIGTERM; returns once everything has been shut down in order. */
export async function serve(): Promise<void> {
  const config = readConfig(process.env)
  const logger = createLogger(config.logLevel, { isShared: config.workers > 1 })
  const isFirstStart = !existsSync(join(resolve(config.dataDir), 'keys.json'))
  const stop = stopSignal()
  const server = await startServer({
    config,
    logger,
    onFatal: (error) => {
      logger.fatal({ err: error }, error.message)
      process.exitCode = 1
      stop.request()
    },
  })
  logger.info({ url: server.url }, 'Strongroom is listening')
  process.stdout.write(welcome(server, isFirstStart))
  await stop.requested
  logger.info({}, 'stopping; running requests are finished first')
  await server.close()
  logger.info({}, 'stopped')
  logger.flush()
}

/** Resolves at the first signal. npm and the terminal may both send the same one, so only a later one forces an end. */
function stopSignal(): { requested: Promise<void>; request: () => void } {
  let request: () => void = () => {}
  const requested = new Promise<void>((resolve) => {
    request = resolve
  })
  let firstAt: number | undefined
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      firstAt ??= Date.now()
      if (Date.now() - firstAt > IMPATIENT_AFTER_MS) process.exit(1)
      request()
    })
  }
  return { requested, request }
}

function welcome({ url: listening, keys }: RunningServer, isFirstStart: boolean): string {
  // Every address is nowhere to go to; on this machine it is reached here.
  const url = listening.replace(/\/\/(?:0\.0\.0\.0|\[::\])/, '//127.0.0.1')
  if (!isFirstStart) return `\n  Strongroom listens on ${url} (its keys: strongroom keys)\n\n`
  const auth = `-H "Authorization: Bearer ${keys.serviceKey}"`
  return `
  Strongroom listens on ${url}

  anon key (for browsers; policies decide what it may do)
  ${keys.anonKey}

  service key (for servers; may do everything, keep it secret)
  ${keys.serviceKey}

  Make a bucket and upload a file to it:

  curl -s -o /dev/null ${auth} ${url}/storage/v1/bucket -d '{"name":"hello"}'; curl -X PUT ${auth} -H "Content-Type: text/plain" ${url}/storage/v1/object/hello/world.txt -d 'Hello, world!'

`
}

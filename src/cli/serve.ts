import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { Logger } from 'pino'
import { type Config, readConfig } from '../config/config.ts'
import { PUBLIC_PREFIX } from '../http/request-target.ts'
import { S3_PATH } from '../http/s3/address.ts'
import { logWarnings } from '../server/log.ts'
import type { Addresses } from '../server/request-server.ts'
import { type RunningServer, startServer } from '../server/start-server.ts'
import { openLog } from '../server/tracing.ts'
import { invocation } from './invocation.ts'

export function registerServe(program: Command): void {
  program.command('serve').description('start the server; stop it with Ctrl-C').action(serve)
}

/** A second signal this long after the first one means that somebody is tired of waiting. In milliseconds. */
const IMPATIENT_AFTER_MS = 1000

/** Serves until SIGINT or SIGTERM; returns once everything has been shut down in order. */
async function serve(): Promise<void> {
  const config = readConfig(process.env)
  const isAlone = config.workers === 1
  const { logger, tracing } = await openLog(config, { isShared: !isAlone, answers: isAlone })
  logWarnings(logger)
  const stop = stopSignal()
  const server = await startServer({
    config,
    logger,
    tracing,
    isProgram: true,
    onFatal: (error) => {
      logger.fatal({ err: error }, error.message)
      process.exitCode = 1
      stop.request()
    },
  })
  await announce({ server, config, logger })
  await stop.requested
  logger.info({}, 'stopping; running requests are finished first')
  await server.close()
  const areSent = (await tracing?.close()) ?? true
  logger.info({}, 'stopped')
  logger.flush()
  if (!areSent) process.exit() // what is still on its way to the collector would hold it up
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

/** Says where it listens, and where the keys are: in the log as any line of it, on a terminal in words for a human. */
async function announce({ server, config, logger }: Announcement): Promise<void> {
  if (process.stdout.isTTY) {
    process.stdout.write((await server.hasBuckets()) ? greeting(server) : welcome(server, config))
    return
  }
  const keys =
    config.jwt.secret === undefined
      ? join(resolve(config.dataDir), 'keys.json')
      : 'signed with STORAGE_JWT_SECRET'
  logger.info(
    { url: server.url, s3: s3Endpoint(server), metrics: server.metricsUrl ?? undefined, keys },
    `Strongroom is listening; \`${invocation()} keys\` prints its keys`,
  )
}

interface Announcement {
  server: RunningServer
  config: Config
  logger: Logger
}

/** Every address is nowhere to go to; on this machine it is reached here. */
function reachable(url: string): string {
  return url.replace(/\/\/(?:0\.0\.0\.0|\[::\])/, '//127.0.0.1')
}

/** For tools that speak S3: its own port, or the path at the main one. */
function s3Endpoint({ url, s3Url }: Addresses): string {
  return s3Url ?? `${url}${PUBLIC_PREFIX}${S3_PATH}`
}

function greeting(server: RunningServer): string {
  const [url, s3] = [reachable(server.url), reachable(s3Endpoint(server))]
  return `\n  Strongroom listens on ${url} and for S3 clients on ${s3} (its keys: ${invocation()} keys)\n\n`
}

/** For as long as there is nothing in it yet. */
function welcome(server: RunningServer, { s3Protocol: { region } }: Config): string {
  const url = reachable(server.url)
  const endpoint = reachable(s3Endpoint(server))
  const { anonKey, serviceKey, s3 } = server.keys
  const secret = shellWord(s3.secretAccessKey)
  const auth = `-H "Authorization: Bearer ${serviceKey}"`
  return `
  Strongroom listens on ${url}

  anon key (for browsers; policies decide what it may do)
  ${anonKey}

  service key (for servers; may do everything, keep it secret)
  ${serviceKey}

  All again: ${invocation()} keys

  Make a bucket and upload a file to it:

  curl -s -o /dev/null ${auth} ${url}/storage/v1/bucket -d '{"name":"hello"}'; curl -X PUT ${auth} -H "Content-Type: text/plain" ${url}/storage/v1/object/hello/world.txt -d 'Hello, world!'

  The same for S3 clients on ${endpoint}: for awscli, and for rclone

  AWS_ACCESS_KEY_ID=${s3.accessKeyId} AWS_SECRET_ACCESS_KEY=${secret} aws --endpoint-url ${endpoint} --region ${region} s3 ls

  RCLONE_S3_PROVIDER=Other RCLONE_S3_ENDPOINT=${endpoint} RCLONE_S3_REGION=${region} RCLONE_S3_ACCESS_KEY_ID=${s3.accessKeyId} RCLONE_S3_SECRET_ACCESS_KEY=${secret} rclone lsd :s3:

`
}

/** Of the settings, and so perhaps of what a shell takes for its own. */
function shellWord(text: string): string {
  return /^[\w./:@=+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

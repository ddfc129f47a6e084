import type { Logger } from 'pino'
import type { Config } from '../config/config.ts'
import { openTracing } from '../telemetry/tracing/open.ts'
import type { Tracing } from '../telemetry/tracing/tracing.ts'
import { createLogger } from './log.ts'

/**
 * The log of a process of the server, and its tracing, if it has one: then each line says in which span it was written.
 *
 * @param options `answers`: whether this process answers requests, which are what is traced
 */
export async function openLog(
  config: Config,
  { isShared, answers }: { isShared: boolean; answers: boolean },
): Promise<{ logger: Logger; tracing: Tracing | undefined }> {
  const settings = answers ? config.traces : undefined
  let tracing: Tracing | undefined
  const logger = createLogger(config.logLevel, {
    isShared,
    ...(settings && { more: () => ({ ...tracing?.ids() }) }),
  })
  tracing = await openTracing(settings, (reason) =>
    logger.warn({ collector: settings?.origin, reason }, 'spans do not arrive'),
  )
  return { logger, tracing }
}

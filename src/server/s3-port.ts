import type { Server } from 'node:http'
import type { Logger } from 'pino'
import type { Config } from '../config/config.ts'
import { listen, tryToListen } from '../http/http-server.ts'

/** A port where the S3 protocol is at `/`, since most tools want an endpoint without a path (decision 0048). */
export interface S3Port {
  host: string
  /** 0 is a free one. */
  port: number
  /** Whether somebody has said that it has to be this one. */
  isChosen: boolean
}

/** Where it should be: the port after the main one unless another is chosen; null when it is turned off. */
export function s3PortOf({ host, port: mainPort, s3Protocol }: Config): S3Port | null {
  const { port } = s3Protocol
  if (port === 0) return null
  const next = mainPort === 0 ? 0 : mainPort + 1
  return { host, port: port ?? next, isChosen: port !== undefined }
}

/**
 * Tries whether it could listen there, as `tryToListen` does. Nobody has to have that port who has not asked for it: where
 * the default is taken, a warning says so, and the server goes on without.
 *
 * @throws what `listen` would for a port that was chosen
 */
export async function findS3Port(config: Config, logger: Logger): Promise<S3Port | null> {
  const wanted = s3PortOf(config)
  if (wanted === null) return null
  try {
    await tryToListen(wanted)
    return wanted
  } catch (error) {
    return goOnWithout(wanted, error, logger)
  }
}

/** Listens there, and tells where; null when it was taken meanwhile. @throws as `findS3Port` */
export async function listenForS3(server: Server, wanted: S3Port, logger: Logger): Promise<string | null> {
  try {
    return await listen(server, wanted)
  } catch (error) {
    return goOnWithout(wanted, error, logger)
  }
}

function goOnWithout({ port, isChosen }: S3Port, error: unknown, logger: Logger): null {
  if (!(error instanceof Error)) throw error
  if (isChosen) throw Object.assign(error, { setting: 'STORAGE_S3_PROTOCOL_PORT' })
  logger.warn(
    { err: error },
    `the port ${port}, for S3 clients, cannot be had: they find it at /storage/v1/s3 alone. STORAGE_S3_PROTOCOL_PORT ` +
      'chooses another port, or none with 0',
  )
  return null
}

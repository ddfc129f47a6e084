import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import { countLinkDownload, linkDownloadBroke } from '../../database/queries/links.ts'
import { StorageError } from '../../model/errors.ts'
import type { UrlClaims } from './url-token.ts'

/** Who downloads. */
export interface Downloader {
  /** An address, as limits know it: what goes on with a download comes from the same. */
  client: string
  /** Whether a part is asked for. */
  isRange: boolean
}

/**
 * Counts the downloads of signed URLs that work a number of times (decision 0075). Only those have a row, from the first time
 * on. A range goes on with what the same client has begun less than a minute ago, and so does who tries again what has broken
 * off: neither counts.
 */
export class DownloadCounts {
  readonly #options: { database: Pick<Database, 'run'>; logger: Logger }
  /** How many were refused. */
  refused = 0

  constructor(options: { database: Pick<Database, 'run'>; logger: Logger }) {
    this.#options = options
  }

  /**
   * Before the first byte is sent. Nothing is asked about a URL that works any number of times.
   *
   * @returns to be told when the download has broken off; undefined where nothing was counted
   * @throws LinkExhausted, DatabaseUnavailable
   */
  async count(
    { jti: link, max_downloads: most, exp }: UrlClaims,
    { client, isRange }: Downloader,
  ): Promise<(() => void) | undefined> {
    if (most === undefined) return undefined
    if (link === undefined) throw new StorageError('InvalidJWT')
    const { database, logger } = this.#options
    const ends = new Date(exp * 1000)
    const isAllowed = await countLinkDownload(database, { link, client, isRange, most, ends })
    if (!isAllowed) {
      this.refused++
      throw new StorageError('LinkExhausted')
    }
    return () => {
      linkDownloadBroke(database, link, client).catch((err: unknown) =>
        logger.debug({ err }, 'that a download of a signed URL has broken off was not noted'),
      )
    }
  }
}

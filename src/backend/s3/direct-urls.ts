import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { S3Settings } from '../../config/s3.ts'
import type { ResponseHeaders } from '../backend.ts'
import { clientConfig } from './store.ts'
import { fromStoreError } from './store-errors.ts'

/** Long enough to follow a redirect, too short to pass an address on. In seconds. */
const LIFETIME = 60

/** Makes addresses of the store that anyone can fetch one object from, for a minute. */
export class DirectUrls {
  readonly #client: S3Client

  constructor(
    private readonly settings: S3Settings,
    /** Where clients reach the store, when that is not where we do. */
    publicEndpoint: string | undefined,
  ) {
    // The host is part of what is signed.
    this.#client = new S3Client(clientConfig({ ...settings, endpoint: publicEndpoint ?? settings.endpoint }))
  }

  /** @param headers that the store sends with the bytes. @throws BackendRefused when there are no credentials */
  async of(key: string, headers: ResponseHeaders): Promise<URL> {
    const command = new GetObjectCommand({
      Bucket: this.settings.bucket,
      Key: key,
      ResponseContentType: headers['Content-Type'],
      ResponseContentDisposition: headers['Content-Disposition'],
      ResponseContentEncoding: headers['Content-Encoding'],
      ResponseCacheControl: headers['Cache-Control'],
      ResponseExpires: headers.Expires === undefined ? undefined : new Date(headers.Expires),
    })
    try {
      return new URL(await getSignedUrl(this.#client, command, { expiresIn: LIFETIME }))
    } catch (error) {
      throw fromStoreError(error, this.settings)
    }
  }

  close(): void {
    this.#client.destroy()
  }
}

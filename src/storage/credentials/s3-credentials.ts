import type { S3KeyPair } from '../../config/s3-protocol.ts'
import type { Identity } from '../../model/caller.ts'

/** Who signs with an access key, and what proves it. */
export interface S3Credential {
  /** Makes the signature. The object that has it is the same as long as nothing changes, so that keys can be derived once. */
  readonly secretAccessKey: string
  readonly identity: Identity
}

/** The one place that knows what an access key means to S3 clients. */
export class S3Credentials {
  readonly #own: S3KeyPair
  readonly #service: S3Credential

  /** @param own the pair of the settings or keys.json, which stands for the service */
  constructor(own: S3KeyPair) {
    this.#own = own
    const identity = { role: 'service_role', subject: null, claims: { role: 'service_role' }, token: '' }
    this.#service = { secretAccessKey: own.secretAccessKey, identity }
  }

  /**
   * Whom an access key belongs to; null when nobody has it, or not any more.
   *
   * @throws DatabaseUnavailable
   */
  async find(accessKeyId: string): Promise<S3Credential | null> {
    return accessKeyId === this.#own.accessKeyId ? this.#service : null
  }

  /** Notes that a signature has held. Never fails, and waits for nothing. */
  onUse(_accessKeyId: string): void {}
}

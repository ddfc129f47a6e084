import type { Database } from '../../database/connection/client.ts'
import { countWrongSecret, findShare, type ShareRow } from '../../database/queries/shares.ts'
import { limitConcurrency } from '../../lib/concurrency.ts'
import { StorageError } from '../../model/errors.ts'
import { isPassword, isToken } from './share-secrets.ts'

/** Passwords that are hashed at once: each takes 32 MiB, and a thread of those that read files. */
const HASHED_AT_ONCE = 2

/** That wait for one share, and for all of them. */
const MOST_OF_ONE = 50
const MOST_WAITING = 200

/**
 * Looks at what is sent as the secret of a share. Ten wrong ones a minute may be tried, over all servers; then a password is not
 * looked at until the minute is over, not even the right one. The right token is let in all the same: nobody finds it by trying, and
 * nobody can lock out who has it.
 */
export class SecretChecks {
  readonly #database: Pick<Database, 'run' | 'read'>
  readonly #hashing = limitConcurrency(HASHED_AT_ONCE)
  /** One after the other of each share, so that those under way at once are not more than may be tried. */
  readonly #lines = new Map<string, { waiting: number; inLine: ReturnType<typeof limitConcurrency> }>()
  #waiting = 0

  constructor(database: Pick<Database, 'run' | 'read'>) {
    this.#database = database
  }

  /** @throws InvalidShareSecret, TooManyShareSecrets, ServerBusy */
  async check(share: ShareRow, sent: string): Promise<void> {
    const { share_id: id, password_hash: hash, token_hash: tokenHash } = share
    if (hash !== null) return this.#inLine(id, () => this.#checkPassword(id, sent))
    if (tokenHash === null || !isToken(sent, tokenHash)) await this.#refuse(id)
  }

  async #checkPassword(id: string, sent: string): Promise<void> {
    const share = await findShare(this.#database, id)
    if (share?.is_throttled) throw new StorageError('TooManyShareSecrets')
    const hash = share?.password_hash
    const isRight = typeof hash === 'string' && (await this.#hashing(() => isPassword(sent, hash)))
    if (!isRight) await this.#refuse(id)
  }

  async #refuse(id: string): Promise<never> {
    const isOneOfTen = await countWrongSecret(this.#database, id)
    throw new StorageError(isOneOfTen ? 'InvalidShareSecret' : 'TooManyShareSecrets')
  }

  async #inLine(id: string, work: () => Promise<void>): Promise<void> {
    const line = this.#lines.get(id) ?? { waiting: 0, inLine: limitConcurrency(1) }
    if (line.waiting >= MOST_OF_ONE) throw new StorageError('TooManyShareSecrets')
    if (this.#waiting >= MOST_WAITING) throw new StorageError('ServerBusy')
    this.#lines.set(id, line)
    line.waiting++
    this.#waiting++
    try {
      await line.inLine(work)
    } finally {
      line.waiting--
      this.#waiting--
      if (line.waiting === 0) this.#lines.delete(id)
    }
  }
}

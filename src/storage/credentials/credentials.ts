import { randomBytes } from 'node:crypto'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import {
  type CredentialRow,
  deleteCredential,
  findRole,
  getCredential,
  insertCredential,
  listCredentials,
  type NewCredentialRow,
  resealCredential,
} from '../../database/queries/credentials.ts'
import { type Identity, requireService } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { SealedUnder, SecretSeal } from './secret-seal.ts'

export interface CredentialsOptions {
  database: Pick<Database, 'transaction'>
  seal: SecretSeal
}

/** What a new access key is to stand for; its fields have been checked (`credential-fields.ts`). */
export type CredentialRequest = Pick<
  NewCredentialRow,
  'role' | 'subject' | 'claims' | 'description' | 'expiresAt'
>

/** An access key, without its secret. */
export interface CredentialState extends Omit<CredentialRow, 'sealedSecret'> {
  sealedUnder: SealedUnder
}

/** What all made here look like: `SR`, and 90 random bits. */
export const ACCESS_KEY_ID = /^SR[A-Z2-7]{18}$/

/** In bytes. */
const SECRET_BYTES = 32

/** So many are sealed anew at a time. */
const RESEAL_BATCH = 1000

/** The coordinator for access keys of S3 clients: each public method is one operation, and for the service alone. */
export class Credentials {
  readonly #options: CredentialsOptions

  constructor(options: CredentialsOptions) {
    this.#options = options
  }

  /** Makes one. The secret is told this once. @throws RoleNotAllowed, InvalidRequest */
  async create(
    caller: Asker,
    request: CredentialRequest,
  ): Promise<CredentialState & { secretAccessKey: string }> {
    requireService(caller)
    const accessKeyId = newAccessKeyId()
    // Hexadecimal, which no tool, shell or URL takes for anything else.
    const secretAccessKey = randomBytes(SECRET_BYTES).toString('hex')
    const sealedSecret = this.#options.seal.seal(accessKeyId, secretAccessKey)
    const row = await asService(this.#options.database, async (tx) => {
      await refuseRole(tx, request.role)
      return insertCredential(tx, { ...request, accessKeyId, sealedSecret })
    })
    return { ...this.#stateOf(row), secretAccessKey }
  }

  /** By access key; at most `limit`, those after one of them. @throws RoleNotAllowed */
  async list(caller: Asker, page: { after: string; limit: number }): Promise<CredentialState[]> {
    requireService(caller)
    const rows = await asService(this.#options.database, (tx) => listCredentials(tx, page))
    return rows.map((row) => this.#stateOf(row))
  }

  /** @throws RoleNotAllowed, NoSuchCredential */
  async get(caller: Asker, accessKeyId: string): Promise<CredentialState> {
    requireService(caller)
    const row = await asService(this.#options.database, (tx) => getCredential(tx, accessKeyId))
    if (!row) throw new StorageError('NoSuchCredential')
    return this.#stateOf(row)
  }

  /** It ends within a second, on every server. @throws RoleNotAllowed, NoSuchCredential */
  async revoke(caller: Asker, accessKeyId: string): Promise<void> {
    requireService(caller)
    const wasThere = await asService(this.#options.database, (tx) => deleteCredential(tx, accessKeyId))
    if (!wasThere) throw new StorageError('NoSuchCredential')
  }

  /**
   * Seals under the current secret what a previous one has sealed, so that that one may go. Twice is harmless.
   *
   * @returns how many were, and those that none of the secrets opens
   * @throws RoleNotAllowed
   */
  async reseal(caller: Asker): Promise<{ resealed: number; unreadable: string[] }> {
    requireService(caller)
    const { database, seal } = this.#options
    const unreadable: string[] = []
    let resealed = 0
    for (let after = ''; ; ) {
      const rows = await asService(database, async (tx) => {
        const page = await listCredentials(tx, { after, limit: RESEAL_BATCH })
        for (const { accessKeyId, sealedSecret: before } of page) {
          const secret = seal.open(accessKeyId, before)
          if (secret === null) unreadable.push(accessKeyId)
          else if (seal.under(before) !== 'current') {
            const sealedSecret = seal.seal(accessKeyId, secret)
            if (await resealCredential(tx, { accessKeyId, sealedSecret, before })) resealed++
          }
        }
        return page
      })
      const last = rows.at(-1)
      if (last === undefined || rows.length < RESEAL_BATCH) return { resealed, unreadable }
      after = last.accessKeyId
    }
  }

  #stateOf({ sealedSecret, ...row }: CredentialRow): CredentialState {
    return { ...row, sealedUnder: this.#options.seal.under(sealedSecret) }
  }
}

type Asker = Pick<Identity, 'role'>

/** @throws InvalidRequest for a role that nobody can become here, or whom no policy would bind */
async function refuseRole(tx: Transaction, role: string): Promise<void> {
  const facts = await findRole(tx, role)
  if (facts?.isOurs && !facts.isSuperuser) return
  const why = !facts
    ? 'does not exist in the database'
    : facts.isSuperuser
      ? 'is a superuser, whom no policy binds'
      : "is none that the server's login may become"
  throw new StorageError('InvalidRequest', { message: `The role ${role} ${why}` })
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

function newAccessKeyId(): string {
  return `SR${Array.from(randomBytes(18), (byte) => BASE32[byte % 32]).join('')}`
}

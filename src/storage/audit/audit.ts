import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { type AuditFilter, type AuditPage, type AuditRow, listAudit } from '../../database/queries/audit.ts'
import { findObjectOwner } from '../../database/queries/objects.ts'
import { type Identity, requireService } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'

export interface AuditOptions {
  database: Pick<Database, 'transaction' | 'questions'>
}

type Asker = Pick<Identity, 'role' | 'subject'>

/** What an object's owner is told of an entry: what was done with it, and by whom, not from where. */
export type OwnersAuditRow = Omit<AuditRow, 'address' | 'user_agent' | 'request_id' | 'credential'>

/** The coordinator for what is read of the audit log: each public method is one operation. */
export class Audit {
  readonly #options: AuditOptions

  constructor(options: AuditOptions) {
    this.#options = options
  }

  /** Entries, the newest first. @param askedBy whose turn it takes @throws RoleNotAllowed, DatabaseTimeout */
  async list(caller: Asker, askedBy: string, filter: AuditFilter, page: AuditPage): Promise<AuditRow[]> {
    requireService(caller)
    return this.#list(askedBy, filter, page)
  }

  /**
   * What was done with an object: for the service with whatever had that name, for its owner with this one, under all names that
   * it has had. To others, and to the owner of what is gone, there is no such object: the name may be somebody else's by then.
   *
   * @throws NoSuchKey, DatabaseTimeout
   */
  async ofObject(
    caller: Asker,
    askedBy: string,
    { bucket, name }: { bucket: string; name: string },
    page: AuditPage,
  ): Promise<(AuditRow | OwnersAuditRow)[]> {
    if (caller.role === 'service_role') return this.#list(askedBy, { bucket, path: name }, page)
    const found = await asService(this.#options.database, (tx) => findObjectOwner(tx, bucket, name))
    if (!found || caller.subject === null || found.ownerId !== caller.subject) {
      throw new StorageError('NoSuchKey')
    }
    const rows = await this.#list(askedBy, { fileId: found.id }, page)
    return rows.map(({ address, user_agent, request_id, credential, ...row }) => row)
  }

  #list(askedBy: string, filter: AuditFilter, page: AuditPage): Promise<AuditRow[]> {
    return this.#options.database.questions.ask(askedBy, (connection) => listAudit(connection, filter, page))
  }
}

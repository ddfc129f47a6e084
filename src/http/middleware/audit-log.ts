import { randomUUID } from 'node:crypto'
import { type AuditEntry, auditText } from '../../telemetry/audit-entry.ts'
import type { AuditQueue } from '../../telemetry/audit-queue.ts'
import { remoteAddress } from '../connection/client-address.ts'
import type { OnRequestEnd } from '../request-end.ts'
import type { ObjectNote, RequestContext } from '../surface.ts'
import { type AuditedOperation, auditedOperation } from './audit-operations.ts'

/** In characters. */
const LONGEST_AGENT = 256

export interface AuditLogOptions {
  queue: Pick<AuditQueue, 'add' | 'addRead' | 'addRefused'>
  /** Whether downloads and the like are told of, too. */
  withReads: boolean
  trustProxy: boolean
}

/** Makes an entry of each request that the audit log is to have, when it is over; several of one that names many objects. */
export class AuditLog {
  readonly #options: AuditLogOptions

  constructor(options: AuditLogOptions) {
    this.#options = options
  }

  readonly onRequestEnd: OnRequestEnd = (request, end) => {
    const { withReads } = this.#options
    if (end.isRepeated && !withReads) return // a download
    const { notes } = request
    const audited = auditedOperation(notes.operation, notes.role)
    if (!audited || (audited.isRead && !withReads)) return
    if (audited.isRead && request.incoming.method === 'HEAD') return // who has seen no byte
    const status = notes.failure?.status ?? end.status
    const isDone = status < 400
    if (isDone && (audited.isStep ? notes.isPart !== false : notes.isPart === true)) return
    const entry = this.#entry(request, audited, status)
    if (isDone && notes.each) for (const one of notes.each) this.#add(audited, ofObject(entry, one))
    else this.#add(audited, entry)
  }

  #add({ isRead }: AuditedOperation, entry: AuditEntry): void {
    const { queue } = this.#options
    if (entry.status >= 400) queue.addRefused(entry)
    else if (isRead) queue.addRead(entry)
    else queue.add(entry)
  }

  #entry(
    { incoming, notes, requestId }: RequestContext,
    { action, on }: AuditedOperation,
    status: number,
  ): AuditEntry {
    const { bucket, path, target } = notes
    const agent = incoming.headers['user-agent']
    return {
      at: new Date().toISOString(),
      id: randomUUID(),
      action: action === 'upload' && notes.isUpdate ? 'update' : action,
      resource_type: on,
      resource_id: auditText(on === 'bucket' ? bucket : notes.resourceId),
      user_id: auditText(notes.user),
      role: notes.role,
      file_id: notes.objectId,
      bucket: auditText(bucket),
      path: auditText(path),
      target: target && auditText(`${target.bucket}/${target.path}`),
      allowed: isAllowed(status, notes.role),
      status,
      bytes: notes.sent ?? notes.objectSize ?? notes.size,
      address: remoteAddress(incoming, this.#options.trustProxy),
      user_agent: agent?.slice(0, LONGEST_AGENT),
      request_id: requestId,
      via: notes.via,
      credential: auditText(notes.credential),
      repeated: 0,
    }
  }
}

/** The same of one of the objects that a request names. */
function ofObject(entry: AuditEntry, { path, version, objectId, status }: ObjectNote): AuditEntry {
  return {
    ...entry,
    id: randomUUID(),
    resource_id: auditText(version),
    path: auditText(path),
    file_id: objectId,
    status,
    allowed: isAllowed(status, entry.role),
  }
}

/** What a policy hides is answered as if it were not there; from the service nothing is hidden. */
function isAllowed(status: number, role: string | undefined): boolean {
  return status !== 401 && status !== 403 && (status !== 404 || role === 'service_role')
}

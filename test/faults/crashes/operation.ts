/** What a client asks of the server. Keys are `<bucket>/<name>`; contents are known by their SHA-256. */
export type Operation =
  /** `inPieces`: as a resumable upload. */
  | { kind: 'insert'; key: string; sha256: string; inPieces?: boolean }
  | { kind: 'upsert'; key: string; sha256: string }
  /** By S3, in parts; or all that comes before its completion, and then it is aborted. */
  | { kind: 'put' | 'abort'; key: string; sha256: string }
  | { kind: 'read' | 'delete'; key: string }
  | { kind: 'move'; from: string; to: string }
  | { kind: 'copy'; from: string; to: string; upsert: boolean }

export interface Answer {
  /** The HTTP status; null when the connection broke before one came. */
  status: number | null
  /** Of the body, for a read. */
  sha256?: string
}

/** What is stored: the SHA-256 of each key that there is. */
export type Contents = ReadonlyMap<string, string>

/** What the server has to answer when `before` is stored, and what is stored then. */
export function perform(before: Contents, operation: Operation): { answer: Answer; after: Contents } {
  const refused = (status: 404 | 409) => ({ answer: { status }, after: before })
  const after = new Map(before)
  switch (operation.kind) {
    case 'insert':
      if (before.has(operation.key)) return refused(409)
      return { answer: { status: 201 }, after: after.set(operation.key, operation.sha256) }
    case 'upsert': {
      const status = before.has(operation.key) ? 200 : 201
      return { answer: { status }, after: after.set(operation.key, operation.sha256) }
    }
    case 'put':
      return { answer: { status: 200 }, after: after.set(operation.key, operation.sha256) }
    case 'abort':
      return { answer: { status: 204 }, after }
    case 'read': {
      const sha256 = before.get(operation.key)
      return sha256 === undefined ? refused(404) : { answer: { status: 200, sha256 }, after }
    }
    case 'delete':
      if (!after.delete(operation.key)) return refused(404)
      return { answer: { status: 204 }, after }
    case 'move':
    case 'copy': {
      const sha256 = before.get(operation.from)
      if (sha256 === undefined) return refused(404)
      const mayReplace = operation.kind === 'copy' && operation.upsert
      if (before.has(operation.to) && !mayReplace) return refused(409)
      if (operation.kind === 'move') after.delete(operation.from)
      return { answer: { status: 200 }, after: after.set(operation.to, sha256) }
    }
  }
}

/** Whether the server has taken it for done. */
export function isAcknowledged({ status }: Answer): boolean {
  return status !== null && status < 300
}

/** Whether it may have been done or not: no answer, or one that says that the server could not tell. */
export function isOpen({ status }: Answer): boolean {
  return status === null || status >= 500
}

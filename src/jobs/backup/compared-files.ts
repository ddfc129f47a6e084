import { createHash } from 'node:crypto'
import { hasFault } from './backup-error.ts'
import { type Findings, kindOf } from './findings.ts'
import { manifestPath } from './manifest.ts'
import type { BackupTarget } from './target.ts'

export interface VerifyOptions {
  /** Ends it with its reason. */
  signal: AbortSignal
  onProgress?: (progress: VerifyProgress) => void
}

/** What was read and hashed so far. */
export interface VerifyProgress {
  files: number
  bytes: number
}

export interface ComparedFilesOptions extends VerifyOptions {
  target: BackupTarget
  /** Of the backup. */
  id: string
  findings: Findings
}

/** The files of a backup, each read and compared with what is said of it. */
export class ComparedFiles {
  readonly progress: VerifyProgress = { files: 0, bytes: 0 }
  readonly #options: ComparedFilesOptions

  constructor(options: ComparedFilesOptions) {
    this.#options = options
  }

  /** Reads a file, and compares it with what is said of it. Returns whether it is as it was. */
  async compare(path: string, wanted: { sha256: string; size?: number }): Promise<boolean> {
    const { target, findings, signal, onProgress } = this.#options
    const hash = createHash('sha256')
    let size = 0
    try {
      for await (const chunk of await target.read(path)) {
        signal.throwIfAborted()
        hash.update(chunk)
        size += chunk.length
        this.progress.bytes += chunk.length
      }
    } catch (error) {
      await this.note(path, error)
      return false
    }
    this.progress.files++
    onProgress?.(this.progress)
    if (wanted.size !== undefined && wanted.size !== size) {
      findings.add('changed', path, `has ${size} bytes, and was written with ${wanted.size}`)
      return false
    }
    if (hash.digest('hex') === wanted.sha256) return true
    findings.add('changed', path, 'is not what was written: its SHA-256 differs')
    return false
  }

  /** A file that cannot be read is a finding; a target that is gone is none. */
  async note(path: string, error: unknown): Promise<void> {
    const { target, id, findings, signal } = this.#options
    signal.throwIfAborted()
    if (hasFault(error, 'WrongKey')) throw error
    const kind = kindOf(error)
    if (kind === 'unreadable' && (await target.exists(manifestPath(id))) === null) throw error
    if (findings.of(path)?.kind === kind) return // it is in two lists
    const reason = error instanceof Error ? error.message : String(error)
    findings.add(kind, path, kind === 'missing' ? 'is not there' : `cannot be read: ${reason}`)
  }
}

/** What can be wrong with a target, or a backup in it. */
export type BackupFault =
  /** The place cannot hold backups, or holds none: it has files of others, is not there, or is ours for something else. */
  | 'UnusableTarget'
  /** It cannot be read or written now; the reason may pass. */
  | 'TargetUnavailable'
  | 'MissingBackupFile'
  | 'NoSuchBackup'
  /** What was read is not what was written. */
  | 'DamagedBackup'
  /** A newer version of Strongroom has made it. */
  | 'NewerFormat'
  /** It is encrypted, and not for the key that is at hand. */
  | 'WrongKey'
  /** Somebody took it for dead, and went on without it. */
  | 'Interrupted'
  /** Another backup has bytes in it, or may have. */
  | 'BackupInUse'

/** The message is a sentence for the operator. Callers compare `fault`. */
export class BackupError extends Error {
  override readonly name = 'BackupError'

  constructor(
    readonly fault: BackupFault,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

export function hasFault(error: unknown, fault: BackupFault): error is BackupError {
  return error instanceof BackupError && error.fault === fault
}

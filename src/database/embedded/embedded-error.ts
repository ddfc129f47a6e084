/** The embedded PostgreSQL cannot be used. The message says in plain words what is wrong and what to do. */
export class EmbeddedPostgresError extends Error {
  override readonly name: string = 'EmbeddedPostgresError'
}

/** The folder belongs to another running server. Its data is safe; ours is the one that must give way. */
export class FolderInUseError extends EmbeddedPostgresError {
  override readonly name: string = 'FolderInUseError'

  /** @param ownerPid the other server's process, where the database knows it */
  constructor(
    folder: string,
    readonly ownerPid: number | undefined,
  ) {
    const who = ownerPid === undefined ? 'Another Strongroom' : `Another Strongroom (pid ${ownerPid})`
    super(`${who} already uses ${folder}: stop it first, or give this one its own STORAGE_DATA_DIR`)
  }
}

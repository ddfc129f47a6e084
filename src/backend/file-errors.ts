import { StorageError } from '../model/errors.ts'

/** The error code of the file system, such as ENOENT; empty for other errors. */
export function errno(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? ''
}

/**
 * The file system's errors in our words. What is not about the disk stays as it is: EEXIST is a version
 * written twice, a bug. Only for errors of our own files, as a body may come from a file system too.
 */
export function fromErrno(error: unknown): unknown {
  switch (errno(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new StorageError('StorageFull', { cause: error })
    case 'ENOENT': // a folder; what a missing file means depends on who asks
    case 'ENOTDIR':
    case 'EROFS':
    case 'EACCES':
    case 'EPERM':
    case 'EIO':
    case 'EMFILE':
    case 'ENFILE':
    case 'ENODEV':
    case 'ENXIO':
    case 'ESTALE':
      return new StorageError('BackendUnavailable', { cause: error })
    default:
      return error
  }
}

/** The result of work on our own files, or its error in our words. */
export async function mapped<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw fromErrno(error)
  }
}

/** BackendUnavailable with a sentence for the operator. */
export function unusable(error: unknown): StorageError {
  const code = errno(error)
  const message = reasons[code] ?? `The data folder cannot be used${code && ` (${code})`}`
  return new StorageError('BackendUnavailable', { cause: error, message })
}

/** Paths stay out, because `/health` may show these to anyone; the cause has them. */
const reasons: Record<string, string> = {
  ENOENT: 'The data folder is missing: is its disk mounted?',
  ENOTDIR: 'The data folder is not a folder',
  EROFS: 'The data folder is read-only',
  EACCES: 'The server may not write to the data folder',
  EPERM: 'The server may not write to the data folder',
  ENOSPC: 'The disk of the data folder is full',
  EDQUOT: 'The disk quota of the data folder is used up',
  EIO: 'The disk of the data folder is failing',
  EMFILE: 'The server has too many files open',
  ENFILE: 'This machine has too many files open',
}

import { existsSync } from 'node:fs'

/** Why the system refuses something, in words that go on after a colon; what it says itself where we know none. */
export function systemReason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return REASONS[code ?? ''] ?? message
}

/** What to do about a data folder that cannot be used, to stand behind a semicolon. */
export function dataFolderAdvice(error: unknown, dataDir: string): string {
  const { code = '' } = error as NodeJS.ErrnoException
  const uid = process.getuid?.()
  const isDenied = code === 'EACCES' || code === 'EPERM'
  const give = isDenied && uid !== undefined ? `${giveTo(uid, dataDir)}, or ` : ''
  return `${give}STORAGE_DATA_DIR names another folder`
}

/** What somebody who may do it would run. */
function giveTo(uid: number, folder: string): string {
  return existsSync(folder)
    ? `give it to this user (chown -R ${uid} ${folder})`
    : `make it for this user (install -d -o ${uid} ${folder})`
}

/** Of files and folders; the clients' words for the same are in backend/file-errors.ts. */
const REASONS: Record<string, string> = {
  EACCES: 'this user may not do that there',
  EPERM: 'this user may not do that there',
  ENOENT: 'it, or a folder above it, is not there and cannot be made', // also Node's word for a read-only disk
  ENOTDIR: 'it, or what is above it, is not a folder',
  EISDIR: 'it is a folder',
  EROFS: 'its file system is read-only',
  ENOSPC: 'its disk is full',
  EDQUOT: 'the quota of its disk is used up',
  EIO: 'its disk is failing',
  ENAMETOOLONG: 'its name is too long',
  ELOOP: 'it is a link that leads to itself',
  EMFILE: 'this process has too many files open (ulimit -n)',
  ENFILE: 'this machine has too many files open',
}

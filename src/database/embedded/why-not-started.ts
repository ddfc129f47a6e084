/** Why the system could not start one of the programs at all. */
export function whyNotStarted(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') {
    // The file is there, so it is its loader that is missing.
    return 'the built-in PostgreSQL needs glibc, which this system (Alpine?) does not have; set DATABASE_URL'
  }
  if (error.code === 'EACCES') {
    return `${error.path} cannot be reached by its user: open the folders above it, or set DATABASE_URL`
  }
  if (error.code === 'EPERM') return 'we may not switch to the user who should run it; set DATABASE_URL'
  return error.message
}

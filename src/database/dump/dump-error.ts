/** Rows cannot be taken out of a database, or brought into one. The message says why and what to do. */
export class DumpError extends Error {
  override readonly name = 'DumpError'
}

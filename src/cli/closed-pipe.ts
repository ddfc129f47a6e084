/** Who has read enough, as `head` has, closes the pipe. */
export function isClosed(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}

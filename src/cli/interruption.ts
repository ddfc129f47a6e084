/** Is aborted by Ctrl-C, or by who asks the process to end: a command ends in order then. A second time ends it at once. */
export function interruption(): AbortController {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  return interrupted
}

/** As people read it: `1,000,000`. */
export function count(n: number): string {
  return n.toLocaleString('en')
}

/** Whole megabytes, of a number of bytes. */
export function megabytes(bytes: number): string {
  return `${count(Math.round(bytes / 1e6))} MB`
}

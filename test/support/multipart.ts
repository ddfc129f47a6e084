export const BOUNDARY = 'strongroom-test-boundary'

export const MULTIPART = `Content-Type: multipart/form-data; boundary=${BOUNDARY}`

/** A field of a form. */
export function field(name: string, value: string | Buffer): Buffer {
  return part(`Content-Disposition: form-data; name="${name}"`, value)
}

/** The file of a form; storage-js gives it no name. */
export function file(bytes: string | Buffer, type: string | undefined = 'text/plain', name = ''): Buffer {
  const head = `Content-Disposition: form-data; name="${name}"; filename="blob"`
  return part(type === undefined ? head : `${head}\r\nContent-Type: ${type}`, bytes)
}

/** A part with any head. */
export function part(head: string, bytes: string | Buffer): Buffer {
  return Buffer.concat([`--${BOUNDARY}\r\n${head}\r\n\r\n`, bytes, '\r\n'].map((piece) => Buffer.from(piece)))
}

/** A whole form: its parts and the boundary that ends them. */
export function form(...parts: Buffer[]): Buffer {
  return Buffer.concat([...parts, Buffer.from(`--${BOUNDARY}--\r\n`)])
}

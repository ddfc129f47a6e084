/** One message of protobuf, by the numbers of its fields (https://protobuf.dev/programming-guides/encoding/). */
export class Message {
  readonly #fields: Map<number, (Buffer | number)[]>

  constructor(fields: Map<number, (Buffer | number)[]>) {
    this.#fields = fields
  }

  has(field: number): boolean {
    return this.#fields.has(field)
  }

  /** Empty when it is not there. */
  bytes(field: number): Buffer {
    const [value] = this.#fields.get(field) ?? []
    return value instanceof Buffer ? value : Buffer.alloc(0)
  }

  number(field: number): number | undefined {
    const [value] = this.#fields.get(field) ?? []
    return typeof value === 'number' ? value : undefined
  }

  messages(field: number): Message[] {
    return (this.#fields.get(field) ?? []).map((value) => readMessage(value as Buffer))
  }
}

/** @throws when it is none */
export function readMessage(bytes: Buffer): Message {
  const fields = new Map<number, (Buffer | number)[]>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes.readUInt8(at++)
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new Error('a field of protobuf is cut off')
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = varint()
    const [field, type] = [tag >> 3, tag & 7]
    let value: Buffer | number
    if (type === 0) value = varint()
    else if (type === 1) value = take(8)
    else if (type === 2) value = take(varint())
    else if (type === 5) value = take(4)
    else throw new Error(`a field of protobuf has type ${type}`)
    fields.set(field, [...(fields.get(field) ?? []), value])
  }
  return new Message(fields)
}

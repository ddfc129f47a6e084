import { crc32 } from 'node:zlib'

/*
 * Cyclic redundancy checks: over bytes as they pass, and of bytes that lie one behind the other, from the checks of each.
 * All are of the reflected kind: the lowest bit of a byte comes first, and the register begins, and ends, inverted.
 */

export interface RunningCrc {
  update(bytes: Uint8Array): void
  /** Of what has passed so far, the most significant byte first. */
  digest(): Buffer
}

/** What a check says of bytes that are not here. */
export interface CheckedBytes {
  /** As `RunningCrc.digest` gives it. */
  crc: Uint8Array
  /** Of the bytes, in bytes. */
  length: number
}

/** CRC-32 of ISO 3309, which gzip has too. Native. */
export class Crc32 implements RunningCrc {
  #value = 0

  update(bytes: Uint8Array): void {
    this.#value = crc32(bytes, this.#value)
  }

  digest(): Buffer {
    return bigEndian(this.#value)
  }

  /** That of all, one behind the other. */
  static combine(pieces: Iterable<CheckedBytes>): Buffer {
    return combine(pieces, GZIP_POLYNOMIAL, 32)
  }
}

/** CRC-32C (RFC 3720 §12.1). */
export class Crc32c implements RunningCrc {
  #value = -1

  update(bytes: Uint8Array): void {
    this.#value = sliced32(bytes, this.#value)
  }

  digest(): Buffer {
    return bigEndian(~this.#value)
  }

  /** That of all, one behind the other. */
  static combine(pieces: Iterable<CheckedBytes>): Buffer {
    return combine(pieces, CASTAGNOLI_POLYNOMIAL, 32)
  }
}

/** CRC-64/NVME, of the NVM Express NVM Command Set Specification. */
export class Crc64Nvme implements RunningCrc {
  /** Two halves, since numbers have no 64 bits, and BigInts are far too slow. */
  readonly #register = { high: -1, low: -1 }

  update(bytes: Uint8Array): void {
    sliced64(bytes, this.#register)
  }

  digest(): Buffer {
    const { high, low } = this.#register
    return bigEndian(~high, ~low)
  }

  /** That of all, one behind the other. */
  static combine(pieces: Iterable<CheckedBytes>): Buffer {
    return combine(pieces, NVME_POLYNOMIAL, 64)
  }
}

/**
 * Two halves, since numbers have no 64 bits. The highest bit is x⁰, and so on downwards: one of 32 bits has no lower half.
 */
interface Polynomial {
  high: number
  low: number
}

const GZIP_POLYNOMIAL = { high: 0xedb88320, low: 0 }
const CASTAGNOLI_POLYNOMIAL = { high: 0x82f63b78, low: 0 }
const NVME_POLYNOMIAL = { high: 0x9a6c9329, low: 0xac4bc9b5 }

const TOP_BIT = 1 << 31
const ONE: Polynomial = { high: TOP_BIT, low: 0 }

/*
 * Eight bytes a step by eight tables ("slicing by 8", Kounavis and Berry 2008), which is about as fast as SHA-256 here. A
 * byte a step, as the S3 SDK has it for CRC-32C, takes almost four times as long. The tables lie one behind the other in
 * one array: eight arrays take twice as long.
 */

/** What a byte with `n` bytes behind it leaves in the register: entry `256 * n + byte`. */
function tableOf(polynomial: bigint): BigUint64Array {
  const table = new BigUint64Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let value = BigInt(byte)
    for (let n = 0; n < 8; n++) {
      for (let bit = 0; bit < 8; bit++) value = value & 1n ? (value >> 1n) ^ polynomial : value >> 1n
      table[256 * n + byte] = value
    }
  }
  return table
}

const CASTAGNOLI = Int32Array.from(tableOf(BigInt(CASTAGNOLI_POLYNOMIAL.high)), Number)
const NVME = tableOf((BigInt(NVME_POLYNOMIAL.high) << 32n) | BigInt(NVME_POLYNOMIAL.low))
const NVME_LOW = Int32Array.from(NVME, (value) => Number(value & 0xffff_ffffn))
const NVME_HIGH = Int32Array.from(NVME, (value) => Number(value >> 32n))

function sliced32(bytes: Uint8Array, register: number): number {
  const table = CASTAGNOLI
  let value = register
  let i = 0
  for (const end = bytes.length - 7; i < end; i += 8) {
    value =
      at(table, 0x700 | ((value ^ at(bytes, i)) & 255)) ^
      at(table, 0x600 | (((value >>> 8) ^ at(bytes, i + 1)) & 255)) ^
      at(table, 0x500 | (((value >>> 16) ^ at(bytes, i + 2)) & 255)) ^
      at(table, 0x400 | ((value >>> 24) ^ at(bytes, i + 3))) ^
      at(table, 0x300 | at(bytes, i + 4)) ^
      at(table, 0x200 | at(bytes, i + 5)) ^
      at(table, 0x100 | at(bytes, i + 6)) ^
      at(table, at(bytes, i + 7))
  }
  for (; i < bytes.length; i++) value = (value >>> 8) ^ at(table, (value ^ at(bytes, i)) & 255)
  return value
}

function sliced64(bytes: Uint8Array, register: { high: number; low: number }): void {
  let { high, low } = register
  let i = 0
  for (const end = bytes.length - 7; i < end; i += 8) {
    const a = 0x700 | ((low ^ at(bytes, i)) & 255)
    const b = 0x600 | (((low >>> 8) ^ at(bytes, i + 1)) & 255)
    const c = 0x500 | (((low >>> 16) ^ at(bytes, i + 2)) & 255)
    const d = 0x400 | ((low >>> 24) ^ at(bytes, i + 3))
    const e = 0x300 | ((high ^ at(bytes, i + 4)) & 255)
    const f = 0x200 | (((high >>> 8) ^ at(bytes, i + 5)) & 255)
    const g = 0x100 | (((high >>> 16) ^ at(bytes, i + 6)) & 255)
    const h = (high >>> 24) ^ at(bytes, i + 7)
    low = slice(NVME_LOW, a, b, c, d, e, f, g, h)
    high = slice(NVME_HIGH, a, b, c, d, e, f, g, h)
  }
  for (; i < bytes.length; i++) {
    const index = (low ^ at(bytes, i)) & 255
    low = ((low >>> 8) | (high << 24)) ^ at(NVME_LOW, index)
    high = (high >>> 8) ^ at(NVME_HIGH, index)
  }
  register.high = high
  register.low = low
}

function slice(
  table: Int32Array,
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
  f: number,
  g: number,
  h: number,
): number {
  return (
    at(table, a) ^
    at(table, b) ^
    at(table, c) ^
    at(table, d) ^
    at(table, e) ^
    at(table, f) ^
    at(table, g) ^
    at(table, h)
  )
}

/** Of a place that is there: all indices here are below the length. */
function at(array: Int32Array | Uint8Array, index: number): number {
  return array[index] as number
}

/**
 * A check is a remainder of polynomials over the field of two elements: with `n` bytes behind them, bytes have that of
 * their own times x to the power of `8n`. Since registers begin and end inverted, that is all (zlib's `crc32_combine`).
 */
function combine(pieces: Iterable<CheckedBytes>, polynomial: Polynomial, bits: 32 | 64): Buffer {
  const field = new Field(polynomial, bits)
  let all: Polynomial = { high: 0, low: 0 }
  for (const { crc, length } of pieces) {
    const shifted = field.product(all, field.shift(length))
    const view = new DataView(crc.buffer, crc.byteOffset, bits / 8)
    all = {
      high: shifted.high ^ view.getInt32(0),
      low: bits === 64 ? shifted.low ^ view.getInt32(4) : 0,
    }
  }
  return bits === 64 ? bigEndian(all.high, all.low) : bigEndian(all.high)
}

/** Polynomials modulo one of them. Tens of thousands of products are made for one large object: BigInts take a second. */
class Field {
  readonly #polynomial: Polynomial
  readonly #bits: 32 | 64
  /** x to the power of 8, of 16, of 32 and so on. */
  readonly #powers: Polynomial[] = [{ high: 1 << 23, low: 0 }]
  /** Of the lengths that there were: mostly all pieces but the last are equally long. */
  readonly #shifts = new Map<number, Polynomial>()

  constructor(polynomial: Polynomial, bits: 32 | 64) {
    this.#polynomial = polynomial
    this.#bits = bits
  }

  product(a: Polynomial, b: Polynomial): Polynomial {
    const { high: polynomialHigh, low: polynomialLow } = this.#polynomial
    const isLong = this.#bits === 64
    let { high, low } = b
    let productHigh = 0
    let productLow = 0
    for (let n = 0; n < this.#bits; n++) {
      if (((n < 32 ? a.high : a.low) << n) & TOP_BIT) {
        productHigh ^= high
        productLow ^= low
      }
      // Times x.
      const overflows = (isLong ? low : high) & 1
      if (isLong) low = (low >>> 1) | (high << 31)
      high >>>= 1
      if (overflows) {
        high ^= polynomialHigh
        low ^= polynomialLow
      }
    }
    return { high: productHigh, low: productLow }
  }

  /** What `bytes` more behind them multiply a remainder by. */
  shift(bytes: number): Polynomial {
    let shift = this.#shifts.get(bytes)
    if (!shift) {
      shift = ONE
      for (let left = bytes, n = 0; left > 0; left = Math.floor(left / 2), n++) {
        if (left % 2 === 1) shift = this.product(shift, this.#power(n))
      }
      this.#shifts.set(bytes, shift)
    }
    return shift
  }

  #power(n: number): Polynomial {
    const known = this.#powers[n]
    if (known) return known
    const before = this.#power(n - 1)
    const power = this.product(before, before)
    this.#powers[n] = power
    return power
  }
}

function bigEndian(...words: number[]): Buffer {
  const bytes = Buffer.alloc(4 * words.length)
  words.forEach((word, n) => {
    bytes.writeInt32BE(word | 0, 4 * n)
  })
  return bytes
}

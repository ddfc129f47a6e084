import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Crc32, Crc32c, Crc64Nvme } from '../../src/lib/crc.ts'

/** What each catalogue of such checks gives for the text `123456789`, and for nothing. */
const KINDS = [
  ['CRC-32', Crc32, 'cbf43926', '00000000'],
  ['CRC-32C', Crc32c, 'e3069283', '00000000'],
  ['CRC-64/NVME', Crc64Nvme, 'ae8b14860a799888', '0000000000000000'],
] as const

function checkOf(Kind: (typeof KINDS)[number][1], ...chunks: Uint8Array[]): string {
  const running = new Kind()
  for (const chunk of chunks) running.update(chunk)
  return running.digest().toString('hex')
}

/** A bit at a time, as the definition has it. */
function byBits(bytes: Uint8Array, polynomial: bigint, bits: number): string {
  const ones = (1n << BigInt(bits)) - 1n
  let register = ones
  for (const byte of bytes) {
    register ^= BigInt(byte)
    for (let n = 0; n < 8; n++) register = register & 1n ? (register >> 1n) ^ polynomial : register >> 1n
  }
  return (register ^ ones).toString(16).padStart(bits / 4, '0')
}

describe.each(KINDS)('%s', (_name, Kind, check, empty) => {
  it('gives the published values', () => {
    expect(checkOf(Kind, Buffer.from('123456789'))).toBe(check)
    expect(checkOf(Kind)).toBe(empty)
  })

  it('is the same however the bytes are cut, and from pieces of which only the checks are left', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 70 }), { maxLength: 6 }), (chunks) => {
        const whole = checkOf(Kind, Buffer.concat(chunks))
        expect(checkOf(Kind, ...chunks)).toBe(whole)
        const pieces = chunks.map((chunk) => ({
          crc: Buffer.from(checkOf(Kind, chunk), 'hex'),
          length: chunk.length,
        }))
        expect(Kind.combine(pieces).toString('hex')).toBe(whole)
      }),
    )
  })

  it('can be asked on the way, and goes on', () => {
    const running = new Kind()
    running.update(Buffer.from('1234'))
    running.digest()
    running.update(Buffer.from('56789'))
    expect(running.digest().toString('hex')).toBe(check)
  })

  it('of large pieces is combined too', () => {
    const zeros = Buffer.alloc(1_000_003)
    const ones = Buffer.alloc(2_500_001, 1)
    const pieces = [zeros, ones, zeros].map((bytes) => ({
      crc: Buffer.from(checkOf(Kind, bytes), 'hex'),
      length: bytes.length,
    }))
    expect(Kind.combine(pieces).toString('hex')).toBe(checkOf(Kind, zeros, ones, zeros))
  })
})

it('the tables say what the definition says', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(checkOf(Crc32, bytes)).toBe(byBits(bytes, 0xedb88320n, 32))
      expect(checkOf(Crc32c, bytes)).toBe(byBits(bytes, 0x82f63b78n, 32))
      expect(checkOf(Crc64Nvme, bytes)).toBe(byBits(bytes, 0x9a6c9329ac4bc9b5n, 64))
    }),
  )
})

it('gigabytes are combined in any grouping', () => {
  const gib = 2 ** 30
  const pieces = Array.from({ length: 6 }, () => ({ crc: Buffer.from('cbf43926', 'hex'), length: gib }))
  const halves = [pieces.slice(0, 3), pieces.slice(3)].map((half) => ({
    crc: Crc32.combine(half),
    length: 3 * gib,
  }))
  expect(Crc32.combine(halves)).toEqual(Crc32.combine(pieces))
})

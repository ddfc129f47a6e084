import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  beginChecksum,
  CHECKSUM_ALGORITHMS,
  type ChecksumAlgorithm,
  checksumOfParts,
  isChecksumValue,
  md5EtagOfParts,
  storedChecksum,
  typesInParts,
} from '../../src/model/checksums.ts'

const of = (algorithm: ChecksumAlgorithm, bytes: string | Buffer) => {
  const running = beginChecksum(algorithm)
  running.update(Buffer.from(bytes))
  return running.digest().toString('base64')
}

/** Of `123456789`. */
const PUBLISHED: Record<ChecksumAlgorithm, string> = {
  CRC32: 'y/Q5Jg==',
  CRC32C: '4waSgw==',
  CRC64NVME: 'rosUhgp5mIg=',
  SHA1: '98O8HYCOBHMqUT+Mf8AA8rP6lOs=',
  SHA256: 'FeKw07g8xIppH/EfSZ/pOjc+7iyBt+Xz1+P4hgPR/Sk=',
}

it.each(CHECKSUM_ALGORITHMS)('%s gives the published value', (algorithm) => {
  const expected = algorithm.startsWith('SHA')
    ? createHash(algorithm.toLowerCase()).update('123456789').digest('base64')
    : PUBLISHED[algorithm]
  expect(of(algorithm, '123456789')).toBe(expected)
  expect(isChecksumValue(algorithm, expected)).toBe(true)
})

describe('of an object that came in parts', () => {
  const texts = ['1234', '5', '6789']
  const parts = (algorithm: ChecksumAlgorithm) =>
    texts.map((text) => ({ value: of(algorithm, text), size: text.length }))

  it.each(['CRC32', 'CRC32C', 'CRC64NVME'] as const)('%s says what it says of the whole', (algorithm) => {
    expect(checksumOfParts(algorithm, 'FULL_OBJECT', parts(algorithm))).toEqual({
      algorithm,
      type: 'FULL_OBJECT',
      value: PUBLISHED[algorithm],
    })
  })

  it.each(['CRC32', 'CRC32C', 'SHA1', 'SHA256'] as const)('%s is that of the parts’ own', (algorithm) => {
    const bytes = Buffer.concat(parts(algorithm).map(({ value }) => Buffer.from(value, 'base64')))
    expect(checksumOfParts(algorithm, 'COMPOSITE', parts(algorithm))).toEqual({
      algorithm,
      type: 'COMPOSITE',
      value: `${of(algorithm, bytes)}-3`,
    })
  })

  it('each says only what it can', () => {
    expect(CHECKSUM_ALGORITHMS.map((algorithm) => typesInParts(algorithm))).toEqual([
      ['COMPOSITE', 'FULL_OBJECT'],
      ['COMPOSITE', 'FULL_OBJECT'],
      ['FULL_OBJECT'],
      ['COMPOSITE'],
      ['COMPOSITE'],
    ])
    expect(() => checksumOfParts('SHA256', 'FULL_OBJECT', parts('SHA256'))).toThrow()
  })

  it('the ETag is the MD5 of their MD5s, with their number', () => {
    const md5s = texts.map((text) => createHash('md5').update(text).digest())
    const all = createHash('md5').update(Buffer.concat(md5s)).digest('hex')
    expect(md5EtagOfParts(md5s)).toBe(`"${all}-3"`)
  })
})

describe('what a row says', () => {
  const whole = { algorithm: 'CRC32', type: 'FULL_OBJECT', value: 'y/Q5Jg==' }

  it('is read as it was written', () => {
    expect(storedChecksum(whole)).toEqual(whole)
    const composite = { algorithm: 'SHA256', type: 'COMPOSITE', value: `${of('SHA256', 'x')}-10000` }
    expect(storedChecksum(composite)).toEqual(composite)
  })

  it.each([
    null,
    'y/Q5Jg==',
    [],
    { ...whole, algorithm: 'MD4' },
    { ...whole, algorithm: 'toString' },
    { ...whole, type: 'HALF' },
    { ...whole, type: 'COMPOSITE' },
    { ...whole, value: 'y/Q5Jg==-2' },
    { ...whole, value: 'y/Q5Jg' },
    { ...whole, value: 'y/Q5Jh==' },
    { ...whole, value: 'y_Q5Jg==' },
    { ...whole, value: 'y/Q5Jg==\r\nx: y' },
    { ...whole, value: 5 },
    { ...whole, type: 'COMPOSITE', value: 'y/Q5Jg==-0' },
  ])('is none, if plain SQL has written %j', (value) => {
    expect(storedChecksum(value)).toBeNull()
  })
})

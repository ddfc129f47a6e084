import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SecretSeal } from '../../../src/storage/credentials/secret-seal.ts'

const [ONE, TWO, THREE] = ['one', 'two', 'three'].map(
  (name) => `a signing secret of the servers: ${name}`,
) as [string, string, string]
const ID = 'SRAAAAAAAAAAAAAAAAAA'
const SECRET = randomBytes(32).toString('hex')

describe('a sealed secret', () => {
  it('opens for the access key it was sealed for, and shows nothing of itself', () => {
    fc.assert(
      fc.property(fc.string(), fc.string({ unit: 'grapheme' }), (id, secret) => {
        const sealed = new SecretSeal([ONE]).seal(id, secret)
        expect(sealed).toMatch(/^v1\.[\w-]{8}\.[\w-]+$/)
        expect(new SecretSeal([ONE]).open(id, sealed)).toBe(Buffer.from(secret).toString())
      }),
    )
    expect(new SecretSeal([ONE]).seal(ID, SECRET)).not.toContain(SECRET)
  })

  it('is another text each time', () => {
    const seal = new SecretSeal([ONE])
    expect(new Set(Array.from({ length: 100 }, () => seal.seal(ID, SECRET))).size).toBe(100)
  })

  it('does not open for another access key', () => {
    const seal = new SecretSeal([ONE])
    expect(seal.open(`${ID.slice(0, -1)}B`, seal.seal(ID, SECRET))).toBeNull()
  })

  it('does not open when a single character of it is another', () => {
    const seal = new SecretSeal([ONE])
    const sealed = seal.seal(ID, SECRET)
    for (let at = 0; at < sealed.length; at++) {
      const other = sealed[at] === 'A' ? 'B' : 'A'
      const changed = sealed.slice(0, at) + other + sealed.slice(at + 1)
      // The last character has bits that stand for nothing.
      if (Buffer.from(changed.slice(12), 'base64url').equals(Buffer.from(sealed.slice(12), 'base64url')))
        continue
      expect(seal.open(ID, changed)).toBeNull()
    }
    for (let length = 0; length < sealed.length; length++) {
      expect(seal.open(ID, sealed.slice(0, length))).toBeNull()
    }
  })

  it('opens under a previous secret, and under no other, and tells which of them it was', () => {
    const sealed = new SecretSeal([ONE]).seal(ID, SECRET)
    const rotated = new SecretSeal([TWO, ONE])
    expect([rotated.open(ID, sealed), rotated.under(sealed)]).toEqual([SECRET, 'previous'])
    expect(rotated.under(rotated.seal(ID, SECRET))).toBe('current')
    const foreign = new SecretSeal([THREE])
    expect([foreign.open(ID, sealed), foreign.under(sealed)]).toEqual([null, 'unknown'])
    expect(foreign.under('nonsense')).toBe('unknown')
  })
})

import { describe, expect, it } from 'vitest'
import {
  hashPassword,
  hashToken,
  isPassword,
  isToken,
  newShareId,
  newToken,
  SHARE_ID,
} from '../../../src/storage/shares/share-secrets.ts'

describe('the token of a share', () => {
  it('is another each time, and is known by its hash alone', () => {
    const token = newToken()
    expect(token).not.toBe(newToken())
    expect(Buffer.from(token, 'base64url')).toHaveLength(32)
    expect(isToken(token, hashToken(token))).toBe(true)
  })

  it.each(['', 'x', 'x'.repeat(100_000), '\0'])('is not %j', (sent) => {
    expect(isToken(sent, hashToken(newToken()))).toBe(false)
  })

  it('is not its hash, nor a beginning of it', () => {
    const token = newToken()
    const hash = hashToken(token)
    for (const sent of [hash, token.slice(0, -1), `${token}x`]) expect(isToken(sent, hash)).toBe(false)
    expect(isToken(token, hash.slice(0, -1))).toBe(false)
  })
})

describe('the password of a share', () => {
  it('is known by a hash with a salt', async () => {
    const [one, two] = [await hashPassword('open sesame'), await hashPassword('open sesame')]
    expect(one).not.toBe(two)
    for (const hash of [one, two]) expect(await isPassword('open sesame', hash)).toBe(true)
    for (const wrong of ['', 'open sesam', 'Open sesame', 'open sesame ']) {
      expect(await isPassword(wrong, one)).toBe(false)
    }
  })

  it('is the same in whichever form of Unicode it is typed', async () => {
    expect(await isPassword('u\u0308ber', await hashPassword('\u00fcber'))).toBe(true)
  })

  it('is known at the cost at which it was hashed', async () => {
    // RFC 7914 §12, the second vector: N = 1024, r = 8, p = 16, its first 32 bytes.
    const hash = Buffer.from('fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162', 'hex')
    const stored = `scrypt$10$8$16$${Buffer.from('NaCl').toString('base64url')}$${hash.toString('base64url')}`
    expect(await isPassword('password', stored)).toBe(true)
    expect(await isPassword('passwords', stored)).toBe(false)
  })

  it.each(['', 'x', 'scrypt$15$8$1', 'scrypt$$8$1$a$b'])('is nothing to the hash %j', async (stored) => {
    expect(await isPassword('', stored)).toBe(false)
  })
})

it('a share is named by 22 url-safe characters, others each time', () => {
  const ids = Array.from({ length: 100 }, newShareId)
  expect(new Set(ids).size).toBe(100)
  for (const id of ids) expect(id).toMatch(SHARE_ID)
})

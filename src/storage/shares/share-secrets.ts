import { createHash, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

/*
 * The secrets of shares, of which nothing is stored that would open one: a token has 256 random bits, so that a plain hash does;
 * a password is somebody's invention, and is hashed at a cost.
 */

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

/** In bytes. */
const TOKEN_BYTES = 32
const SALT_BYTES = 16
const HASH_BYTES = 32

/** About 32 MiB and a tenth of a second (RFC 7914 §2). */
const COST = { logN: 15, r: 8, p: 1 } as const

/** `scrypt$<log2 N>$<r>$<p>$<salt>$<hash>`: what was hashed at another cost is still known. */
const FORM = /^scrypt\$(\d{1,2})\$(\d{1,2})\$(\d{1,2})\$([\w-]+)\$([\w-]+)$/

/** 22 url-safe characters: 128 bits and more. */
export function newShareId(): string {
  return randomBytes(17).toString('base64url').slice(0, 22)
}

/** What names one, as far as it can be told without looking. */
export const SHARE_ID = /^[\w-]{22}$/

export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url')
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}

/** In a time that tells nothing of how much of it is right. */
export function isToken(sent: string, hash: string): boolean {
  return isSame(Buffer.from(hashToken(sent)), Buffer.from(hash))
}

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES)
  const { logN, r, p } = COST
  const hash = await derived(password, salt, COST)
  return `scrypt$${logN}$${r}$${p}$${salt.toString('base64url')}$${hash.toString('base64url')}`
}

/** The same, and at the cost of the hash. */
export async function isPassword(sent: string, stored: string): Promise<boolean> {
  const [, logN, r, p, salt = '', hash = ''] = FORM.exec(stored) ?? []
  if (logN === undefined) return false
  const cost = { logN: Number(logN), r: Number(r), p: Number(p) }
  return isSame(await derived(sent, Buffer.from(salt, 'base64url'), cost), Buffer.from(hash, 'base64url'))
}

function derived(
  password: string,
  salt: Buffer,
  { logN, r, p }: { logN: number; r: number; p: number },
): Promise<Buffer> {
  const N = 2 ** logN
  // Typed in different ways, a password is the same (RFC 8265 §4.1).
  return derive(password.normalize('NFC'), salt, HASH_BYTES, { N, r, p, maxmem: 256 * N * r })
}

function isSame(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other)
}

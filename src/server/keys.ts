import { randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { SignJWT } from 'jose'
import { z } from 'zod'
import { flushPath } from '../lib/fsync.ts'
import { dataFolderAdvice, systemReason } from '../model/system-reason.ts'

/** What is made at the first start and kept in `<data folder>/keys.json` (design §10). */
export interface Keys {
  jwtSecret: string
  signingSecret: string
  /** A token of role anon, for browsers. */
  anonKey: string
  /** A token of role service_role, which bypasses every policy. */
  serviceKey: string
}

const schema = z.object({
  jwtSecret: z.string().min(32),
  signingSecret: z.string().min(32),
  anonKey: z.string(),
  serviceKey: z.string(),
})

/** From the settings. */
interface GivenSecrets {
  jwtSecret?: string | undefined
  signingSecret?: string | undefined
}

/** The keys file cannot be read or written. The message says what to do. */
export class KeysError extends Error {
  override readonly name = 'KeysError'
}

/**
 * Reads the keys of a data folder, or makes them, mode 0600. Secrets from the environment take the place of those
 * in the file, and the two keys are then minted anew from them.
 *
 * @throws KeysError
 */
export async function loadKeys(dataDir: string, given: GivenSecrets): Promise<Keys> {
  const path = join(dataDir, 'keys.json')
  return withGiven((await readKeys(path)) ?? (await makeKeys(dataDir, path)), given)
}

/**
 * The same of a server that was started once, or has its secret from the environment; makes nothing.
 *
 * @returns the secret of signed URLs only if there is one yet
 * @throws KeysError
 */
export async function findKeys(
  dataDir: string,
  given: GivenSecrets,
): Promise<Omit<Keys, 'signingSecret'> & { signingSecret: string | undefined }> {
  const kept = await readKeys(join(dataDir, 'keys.json'))
  if (kept) return withGiven(kept, given)
  const { jwtSecret, signingSecret } = given
  if (jwtSecret === undefined) {
    throw new KeysError(
      `There are no keys in ${dataDir}: run this where the server was started, or set STORAGE_DATA_DIR`,
    )
  }
  return { jwtSecret, signingSecret, ...(await standardTokens(jwtSecret)) }
}

async function withGiven(kept: Keys, given: GivenSecrets): Promise<Keys> {
  const signingSecret = given.signingSecret ?? kept.signingSecret
  if (given.jwtSecret === undefined || given.jwtSecret === kept.jwtSecret) return { ...kept, signingSecret }
  return { jwtSecret: given.jwtSecret, signingSecret, ...(await standardTokens(given.jwtSecret)) }
}

/**
 * Mints a login token.
 *
 * @param expiresInSeconds without it the token is valid for ever
 */
export async function mintToken(
  secret: string,
  claims: { role: string; subject?: string | undefined },
  expiresInSeconds?: number,
): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const token = new SignJWT({ role: claims.role })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer('strongroom')
    .setIssuedAt(now)
  if (claims.subject !== undefined) token.setSubject(claims.subject)
  if (expiresInSeconds !== undefined) token.setExpirationTime(now + expiresInSeconds)
  return token.sign(new TextEncoder().encode(secret))
}

async function standardTokens(secret: string): Promise<Pick<Keys, 'anonKey' | 'serviceKey'>> {
  return {
    anonKey: await mintToken(secret, { role: 'anon' }),
    serviceKey: await mintToken(secret, { role: 'service_role' }),
  }
}

/** The keys in a file; null when there is none. @throws KeysError */
export async function readKeys(path: string): Promise<Keys | null> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
    throw new KeysError(
      `${path} cannot be read: ${systemReason(cause)}; STORAGE_DATA_DIR names another folder`,
      { cause },
    )
  }
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new KeysError(`${path} is damaged. Restore it from a backup, or delete it to have new keys made.`, {
      cause,
    })
  }
}

async function makeKeys(dataDir: string, path: string): Promise<Keys> {
  const jwtSecret = randomBytes(32).toString('base64url')
  const signingSecret = randomBytes(32).toString('base64url')
  const keys = { jwtSecret, signingSecret, ...(await standardTokens(jwtSecret)) }
  // Not by the process id alone: containers that share a folder often have the same.
  const draft = `${path}.new-${randomUUID()}`
  try {
    await makeFolder(resolve(dataDir))
    const text = `${JSON.stringify(keys, null, 2)}\n`
    await writeFile(draft, text, { flag: 'wx', mode: 0o600, flush: true })
    // A link, not a rename: if another server has made keys meanwhile, those stay.
    await link(draft, path)
    await flushPath(dataDir)
    return keys
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') {
      const others = await readKeys(path)
      if (others) return others
    }
    throw new KeysError(
      `${path} cannot be written: ${systemReason(cause)}; ${dataFolderAdvice(cause, resolve(dataDir))}`,
      { cause },
    )
  } finally {
    await rm(draft, { force: true })
  }
}

/** Makes a folder, and those above it that are missing, with their names durable: all our data will be in it. */
async function makeFolder(path: string): Promise<void> {
  const firstMade = await mkdir(path, { recursive: true })
  for (let folder = path; firstMade !== undefined; folder = dirname(folder)) {
    await flushPath(dirname(folder))
    if (folder === firstMade) break
  }
}

import { hkdfSync, randomBytes, randomUUID } from 'node:crypto'
import { link, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { SignJWT } from 'jose'
import { z } from 'zod'
import type { Config } from '../config/config.ts'
import type { S3KeyPair } from '../config/s3-protocol.ts'
import { flushPath } from '../lib/fsync.ts'
import { makeFolders } from '../lib/make-folders.ts'
import { UUID } from '../lib/uuid.ts'
import { dataFolderAdvice, systemReason } from '../model/system-reason.ts'

/** What is made at the first start and kept in `<data folder>/keys.json` (design §10). */
export interface Keys extends StandardKeys {
  jwtSecret: string
  signingSecret: string
}

/** What follows from the secret of tokens, and is handed out. */
interface StandardKeys {
  /** A token of role anon, for browsers. */
  anonKey: string
  /** A token of role service_role, which bypasses every policy. */
  serviceKey: string
  /** The same for S3 clients. */
  s3: S3KeyPair
}

const schema = z.object({
  jwtSecret: z.string().min(32),
  signingSecret: z.string().min(32),
  anonKey: z.string(),
  serviceKey: z.string(),
  // Of servers before the S3 protocol there are files without it.
  s3: z.object({ accessKeyId: z.string().min(1), secretAccessKey: z.string().min(32) }).optional(),
})

type KeptKeys = z.infer<typeof schema>

/** From the settings. */
interface GivenSecrets {
  jwtSecret?: string | undefined
  signingSecret?: string | undefined
  s3?: S3KeyPair | undefined
}

/** What the settings say of keys. */
export function givenSecrets({ jwt, signingSecret, s3Protocol }: Config): GivenSecrets {
  return { jwtSecret: jwt.secret, signingSecret, s3: s3Protocol.accessKey }
}

/** The secret of signed URLs and sealed secrets, then the one before it, which still opens what it has signed or sealed. */
export function signingSecrets(
  { signingSecret }: Pick<Keys, 'signingSecret'>,
  { signingSecretPrevious: previous }: Pick<Config, 'signingSecretPrevious'>,
): [string, ...string[]] {
  return [signingSecret, ...(previous === undefined ? [] : [previous])]
}

/** The keys file cannot be read or written. The message says what to do. */
export class KeysError extends Error {
  override readonly name = 'KeysError'
}

/**
 * Reads the keys of a data folder, or makes those that are missing, mode 0600. Secrets from the environment take the
 * place of those in the file, and what follows from them is then made anew.
 *
 * @throws KeysError
 */
export async function loadKeys(dataDir: string, given: GivenSecrets): Promise<Keys> {
  const path = join(dataDir, 'keys.json')
  const kept = (await readKept(path)) ?? (await makeKeys(dataDir, path))
  const keys = kept.s3 ? withPair(kept) : await addPair(path, kept)
  await removeDrafts(path)
  return withGiven(keys, given)
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
  const { jwtSecret, signingSecret, s3 } = given
  if (jwtSecret === undefined) {
    throw new KeysError(
      `There are no keys in ${dataDir}: run this where the server was started, or set STORAGE_DATA_DIR`,
    )
  }
  return { jwtSecret, signingSecret, ...(await standardKeys(jwtSecret)), ...(s3 && { s3 }) }
}

async function withGiven(kept: Keys, { jwtSecret = kept.jwtSecret, ...given }: GivenSecrets): Promise<Keys> {
  const { signingSecret = kept.signingSecret, s3 } = given
  const standard = jwtSecret === kept.jwtSecret ? kept : await standardKeys(jwtSecret)
  return { ...standard, jwtSecret, signingSecret, ...(s3 && { s3 }) }
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

async function standardKeys(secret: string): Promise<StandardKeys> {
  return {
    anonKey: await mintToken(secret, { role: 'anon' }),
    serviceKey: await mintToken(secret, { role: 'service_role' }),
    s3: pairOf(secret),
  }
}

/**
 * The pair that goes with a secret of tokens: servers with the same secret have the same pair, and those that add it to
 * one file at the same moment, too (decision 0048).
 */
function pairOf(jwtSecret: string): S3KeyPair {
  const derived = (about: string, bytes: number) =>
    Buffer.from(hkdfSync('sha256', jwtSecret, '', `strongroom s3 ${about}`, bytes)).toString('hex')
  return { accessKeyId: derived('access key id', 16), secretAccessKey: derived('secret access key', 32) }
}

/** The keys in a file; null when there is none. @throws KeysError */
export async function readKeys(path: string): Promise<Keys | null> {
  const kept = await readKept(path)
  return kept && withPair(kept)
}

function withPair(kept: KeptKeys): Keys {
  return { ...kept, s3: kept.s3 ?? pairOf(kept.jwtSecret) }
}

async function readKept(path: string): Promise<KeptKeys | null> {
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
  const keys = { jwtSecret, signingSecret, ...(await standardKeys(jwtSecret)) }
  try {
    await makeFolder(resolve(dataDir))
    // A link, not a rename: if another server has made keys meanwhile, those stay.
    await writeKeys(path, keys, link)
    return keys
  } catch (cause) {
    // With keys in the file, another server removes the draft of this one.
    if (cause instanceof Error && 'code' in cause && ['EEXIST', 'ENOENT'].includes(String(cause.code))) {
      const others = await readKeys(path)
      if (others) return others
    }
    throw new KeysError(
      `${path} cannot be written: ${systemReason(cause)}; ${dataFolderAdvice(cause, resolve(dataDir))}`,
      { cause },
    )
  }
}

/** Completes a file of before. It need not succeed: what is added follows from what is there. */
async function addPair(path: string, kept: KeptKeys): Promise<Keys> {
  const keys = withPair(kept)
  await realpath(path)
    .then((real) => writeKeys(real, keys, rename))
    .catch(() => {})
  return keys
}

/** @param publish gives the written file its name */
async function writeKeys(
  path: string,
  keys: Keys,
  publish: (from: string, to: string) => Promise<void>,
): Promise<void> {
  // Not by the process id alone: containers that share a folder often have the same.
  const draft = `${path}${DRAFT}${randomUUID()}`
  try {
    const text = `${JSON.stringify(keys, null, 2)}\n`
    await writeFile(draft, text, { flag: 'wx', mode: 0o600, flush: true })
    await publish(draft, path)
    await flushPath(dirname(path))
  } finally {
    await rm(draft, { force: true })
  }
}

/**
 * Removes the drafts that killed servers have left, which have secrets in them. That of a server which starts at this
 * moment is of no use either once there are keys. It need not succeed.
 */
async function removeDrafts(path: string): Promise<void> {
  try {
    const real = await realpath(path)
    const prefix = `${basename(real)}${DRAFT}`
    for (const name of await readdir(dirname(real))) {
      const isDraft = name.startsWith(prefix) && UUID.test(name.slice(prefix.length))
      if (isDraft) await rm(join(dirname(real), name), { force: true })
    }
  } catch {}
}

/** Between the name of the file and a UUID. */
const DRAFT = '.new-'

/** Makes a folder, and those above it that are missing, with their names durable: all our data will be in it. */
async function makeFolder(path: string): Promise<void> {
  const firstMade = makeFolders(path)
  for (let folder = path; firstMade !== undefined; folder = dirname(folder)) {
    await flushPath(dirname(folder))
    if (folder === firstMade) break
  }
}

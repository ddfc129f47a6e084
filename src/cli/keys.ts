import { resolve } from 'node:path'
import { readConfig } from '../config.ts'
import { loadKeys, mintToken } from '../keys.ts'

export interface KeysOptions {
  /** Mints a token of this role instead of printing the keys. */
  role?: string
  /** Its `sub`: the user's id. */
  subject?: string
  /** Until it expires, in seconds; never, without it. */
  expiresIn?: number
  /** Whether the secrets are printed with the keys. */
  secrets?: boolean
}

/** Prints the keys as JSON, or a token for a role. */
export async function keysCommand(options: KeysOptions): Promise<void> {
  const config = readConfig(process.env)
  const keys = await loadKeys(resolve(config.dataDir), {
    jwtSecret: config.jwt.secret,
    signingSecret: config.signingSecret,
  })
  if (options.role !== undefined) {
    const claims = { role: options.role, subject: options.subject }
    process.stdout.write(`${await mintToken(keys.jwtSecret, claims, options.expiresIn)}\n`)
    return
  }
  const { anonKey, serviceKey } = keys
  process.stdout.write(`${JSON.stringify(options.secrets ? keys : { anonKey, serviceKey }, null, 2)}\n`)
}

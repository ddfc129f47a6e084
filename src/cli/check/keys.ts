import { join } from 'node:path'
import type { Config } from '../../config/config.ts'
import type { CheckResult } from '../../model/check-result.ts'
import { type Keys, KeysError, readKeys } from '../../server/keys.ts'

/** Where the two secrets come from, and whether other servers can have the same. Makes none. */
export async function checkKeys(dataDir: string, config: Config): Promise<CheckResult> {
  const about = 'secrets'
  const path = join(dataDir, 'keys.json')
  let kept: Keys | null
  try {
    kept = await readKeys(path)
  } catch (error) {
    if (!(error instanceof KeysError)) throw error
    return { about, state: 'failed', says: error.message }
  }
  const given = { STORAGE_JWT_SECRET: config.jwt.secret, STORAGE_SIGNING_SECRET: config.signingSecret }
  const unset = Object.entries(given).flatMap(([name, secret]) => (secret === undefined ? [name] : []))
  if (unset.length === 0) {
    return {
      about,
      state: 'ok',
      says: `${Object.keys(given).join(' and ')} are set; every server needs the same`,
    }
  }
  const source = kept ? `in use is what ${path} has` : `the first start makes a secret in ${path}`
  const says = `not set: ${unset.join(', ')}; ${source}`
  // Where database and store can be shared, this may be one server of several.
  const isShared = config.databaseUrl !== undefined && config.backend === 's3'
  if (!isShared) return { about, state: 'ok', says }
  const advice = 'on this machine alone: where there is more than one server, set it to the same on each'
  return { about, state: 'warning', says: `${says}, ${advice}` }
}

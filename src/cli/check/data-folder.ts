import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { CheckResult } from '../../model/check-result.ts'
import { dataFolderAdvice, systemReason } from '../../model/system-reason.ts'

/**
 * Whether the data folder can be written, or made if there is none yet. Only asks: what it wrote would be left there if it
 * were killed.
 */
export async function checkDataFolder(dataDir: string): Promise<CheckResult> {
  const about = 'data folder'
  try {
    const existing = await nearestExisting(dataDir)
    await access(existing, constants.W_OK | constants.X_OK)
    const says =
      existing === dataDir ? `${dataDir} can be written` : `none yet; the first start makes ${dataDir}`
    return { about, state: 'ok', says }
  } catch (error) {
    const says = `${dataDir} cannot be used: ${systemReason(error)}; ${dataFolderAdvice(error, dataDir)}`
    return { about, state: 'failed', says }
  }
}

/** The path itself, or the folder above it that is there. @throws ENOTDIR when that is none */
async function nearestExisting(path: string): Promise<string> {
  try {
    if ((await stat(path)).isDirectory()) return path
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error
    return nearestExisting(dirname(path))
  }
  throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' })
}

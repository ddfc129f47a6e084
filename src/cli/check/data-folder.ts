import { randomUUID } from 'node:crypto'
import { access, constants, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { CheckResult } from '../../model/check-result.ts'
import { dataFolderAdvice, systemReason } from '../../model/system-reason.ts'

/** Whether the data folder can be written, or made if there is none yet. Leaves it as it was. */
export async function checkDataFolder(dataDir: string): Promise<CheckResult> {
  const about = 'data folder'
  try {
    const existing = await nearestExisting(dataDir)
    if (existing !== dataDir) {
      await access(existing, constants.W_OK | constants.X_OK)
      return { about, state: 'ok', says: `none yet; the first start makes ${dataDir}` }
    }
    const probe = join(dataDir, `.check-${randomUUID()}`)
    await writeFile(probe, '', { flag: 'wx', mode: 0o600 })
    await rm(probe)
    return { about, state: 'ok', says: `${dataDir} can be written` }
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

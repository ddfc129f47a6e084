import { existsSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BrowserContext, chromium } from 'playwright-core'
import { removeAtEnd } from './daemon.ts'

/** As Debian's package `chromium` installs it. */
const CHROMIUM = '/usr/bin/chromium'
export const hasChromium = existsSync(CHROMIUM)

export interface Browser {
  context: BrowserContext
  close(): Promise<void>
}

/** A browser with an empty profile, which knows no host but this one. It ends with this process, however that ends. */
export async function startChromium(): Promise<Browser> {
  const folder = await mkdtemp(join(tmpdir(), 'strongroom-chromium-'))
  const removeFolder = removeAtEnd(folder)
  const launching = chromium.launchPersistentContext(join(folder, 'profile'), {
    executablePath: CHROMIUM,
    artifactsDir: join(folder, 'artifacts'),
    // What it leaves outside its profile: settings, caches, notes about crashes.
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: folder, TMPDIR: folder },
    args: [
      '--disable-gpu',
      '--disable-background-networking',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
    ],
  })
  const context = await launching.catch(async (error: unknown) => {
    await removeFolder()
    throw error
  })
  return {
    context,
    close: async () => {
      await context.close().finally(removeFolder)
    },
  }
}

/**
 * Before `npm start`: builds where there is a compiler. Where there is none, as after `npm ci --omit=dev`, what was built
 * before is started. Writes nothing when there is nothing new.
 */

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

function findCompiler() {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
  } catch {
    return undefined
  }
}

const compiler = findCompiler()
if (compiler !== undefined) {
  const options = { cwd: ROOT, stdio: 'inherit' }
  process.exitCode = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], options).status ?? 1
} else if (!existsSync(join(ROOT, 'dist/main.js'))) {
  console.error('strongroom: it is not built, and there is no compiler: run npm ci && npm run build first')
  process.exitCode = 1
}

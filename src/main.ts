#!/usr/bin/env node
// Read by every Node that knows modules: nothing newer may stand here, nor be imported before the version is known.

import { whyTooOld } from './server/node-version.ts'

void run().then((refusal) => {
  if (refusal === null) return
  process.stderr.write(`strongroom: ${refusal}\n`)
  process.exitCode = 1
})

/** Runs the command, unless something is missing that already its files need. */
async function run(): Promise<string | null> {
  const tooOld = whyTooOld(process.versions.node)
  if (tooOld !== null) return tooOld
  const { whyTooFewFiles } = await import('./server/open-file-limit.ts')
  const tooFew = whyTooFewFiles()
  if (tooFew === null) await import('./cli/program.ts')
  return tooFew
}

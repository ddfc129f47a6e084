#!/usr/bin/env node
// Read by every Node that knows modules: nothing newer may stand here, nor be imported before the version is known.

import { whyTooOld } from './node-version.ts'

const sentence = whyTooOld(process.versions.node)
if (sentence === null) {
  void import('./cli/program.ts')
} else {
  process.stderr.write(`strongroom: ${sentence}\n`)
  process.exitCode = 1
}

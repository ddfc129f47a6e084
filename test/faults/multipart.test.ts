import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isCheckName } from '../../src/backend/check-name.ts'
import { itLosesNoPart } from './killed-multipart.ts'
import { isFull } from './size.ts'

itLosesNoPart({
  rounds: isFull ? 40 : 2,
  settings: async () => ({}),
  findLeftovers: async ({ folder }) => {
    const objects = join(folder, 'storage-data', 'objects')
    const parts = join(objects, 'parts')
    const entries = await readdir(parts, { recursive: true, withFileTypes: true }).catch(() => [])
    const checks = (await readdir(objects)).filter(isCheckName)
    return [...entries.filter((entry) => entry.isFile()).map(({ name }) => name), ...checks]
  },
})

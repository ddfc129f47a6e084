import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { itLosesNoPart } from './killed-multipart.ts'
import { isFull } from './size.ts'

itLosesNoPart({
  rounds: isFull ? 40 : 2,
  settings: async () => ({}),
  findLeftovers: async ({ folder }) => {
    const parts = join(folder, 'storage-data', 'objects', 'parts')
    const entries = await readdir(parts, { recursive: true, withFileTypes: true }).catch(() => [])
    return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
  },
})

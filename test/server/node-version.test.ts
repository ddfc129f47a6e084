import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { OLDEST_NODE, whyTooOld } from '../../src/server/node-version.ts'

describe('a Node that is too old', () => {
  it.each(['12.22.12', '18.20.8', '20.18.3', '20.9.0'])('%s is told which one is needed', (version) => {
    expect(whyTooOld(version)).toMatch(
      new RegExp(`^Node 20\\.19 or newer is needed, and this is ${version.replaceAll('.', '\\.')}: `),
    )
  })

  it.each(['20.19.0', '20.20.2', '22.0.0', '24.1.0'])('%s is not', (version) => {
    expect(whyTooOld(version)).toBeNull()
  })

  it('is older than what package.json asks for', () => {
    const { engines } = JSON.parse(readFileSync('package.json', 'utf8'))
    expect(engines.node).toBe(`>=${OLDEST_NODE.join('.')}`)
  })

  // npm refuses the package on Node 20 by that entry, although all that is asked of it works there (decision 0072).
  it('is not told by npm to be too old for the newest storage-js', () => {
    const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
    const newest = packages['node_modules/storage-js-newest']
    expect(newest).toMatchObject({ name: '@supabase/storage-js', dev: true })
    expect(newest).not.toHaveProperty('engines')
  })

  // An import is carried out before the first line of the file that has it.
  it('reads nothing of the program before it is told', () => {
    const imports = (file: string) =>
      readFileSync(new URL(`../../src/${file}`, import.meta.url), 'utf8').match(/^import .*$/gm) ?? []
    expect(imports('main.ts')).toEqual(["import { whyTooOld } from './server/node-version.ts'"])
    expect(imports('server/node-version.ts')).toEqual([])
  })
})

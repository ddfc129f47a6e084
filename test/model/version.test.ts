import { describe, expect, it } from 'vitest'
import { UUID } from '../../src/lib/uuid.ts'
import { newVersion } from '../../src/model/version.ts'

describe('a new version', () => {
  const versions = Array.from({ length: 256 * 256 }, newVersion)
  const folders = versions.map((version) => version.slice(0, 2))

  it('is a UUID that no other has', () => {
    expect(versions.filter((version) => !UUID.test(version))).toEqual([])
    expect(new Set(versions).size).toBe(versions.length)
  })

  it('has the folder of the one before it, but for one in 256, and each folder in its turn', () => {
    const changes = folders.filter((folder, i) => i > 0 && folder !== folders[i - 1])
    expect([changes.length <= 256, new Set(folders).size]).toEqual([true, 256])
  })
})

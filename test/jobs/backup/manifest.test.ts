import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  type Manifest,
  manifestPath,
  readManifest,
  writeManifest,
} from '../../../src/jobs/backup/manifest.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { MemoryTarget } from './memory-target.ts'
import { newManifest } from './new-manifest.ts'

async function written(
  change: (manifest: Manifest) => object,
): Promise<{ target: MemoryTarget; id: string }> {
  const target = new MemoryTarget()
  const manifest = newManifest()
  target.files.set(manifestPath(manifest.id), Buffer.from(JSON.stringify(change(manifest))))
  return { target, id: manifest.id }
}

describe('a manifest', () => {
  it('is read as it was written', async () => {
    const target = new MemoryTarget()
    const manifest = newManifest({ parent: uuidV7(), type: 'incremental', buckets: ['avatars'] })
    await writeManifest(target, manifest)
    expect(await readManifest(target, manifest.id)).toEqual(manifest)
  })

  it('of a newer format is refused by a sentence', async () => {
    const { target, id } = await written(() => ({ format: 2, id: 'something else' }))
    await expect(readManifest(target, id)).rejects.toMatchObject({
      fault: 'NewerFormat',
      message: expect.stringContaining('has format 2, and this version of Strongroom knows formats up to 1'),
    })
  })

  it.each([
    ['without a field', ({ moment: _, ...rest }: Manifest) => rest, /moment/],
    ['of another backup', (manifest: Manifest) => ({ ...manifest, id: uuidV7() }), /not as it was written/],
    ['without its checksum', (manifest: Manifest) => manifest, /not as it was written/],
    [
      'with a hash that is none',
      (m: Manifest) => ({ ...m, sha256: { ...m.sha256, files: 'x' } }),
      /sha256\.files/,
    ],
  ])('%s is damaged, and says so', async (_, change, message) => {
    const { target, id } = await written(change)
    await expect(readManifest(target, id)).rejects.toMatchObject({
      fault: 'DamagedBackup',
      message: expect.stringMatching(message),
    })
  })

  it('is damaged when any of its bytes is another', async () => {
    const target = new MemoryTarget()
    const manifest = newManifest({ description: 'before the move' })
    await writeManifest(target, manifest)
    const path = manifestPath(manifest.id)
    const whole = target.files.get(path) ?? Buffer.alloc(0)
    for (let at = 0; at < whole.length; at++) {
      const flipped = Buffer.from(whole)
      flipped[at] = (flipped[at] ?? 0) ^ 1
      target.files.set(path, flipped)
      await expect(readManifest(target, manifest.id), `byte ${at}`).rejects.toMatchObject({
        fault: expect.stringMatching(/^(DamagedBackup|NewerFormat)$/),
      })
    }
  })

  it("has a checksum that a person's tools compute", async () => {
    const target = new MemoryTarget()
    const manifest = newManifest({ buckets: ['ä', 'b'] })
    await writeManifest(target, manifest)
    const written = target.files.get(manifestPath(manifest.id))?.toString() ?? ''
    const { checksum, ...rest } = JSON.parse(written)
    const text = `${JSON.stringify(rest, null, 2)}\n` // as jq 'del(.checksum)' has it
    expect(checksum).toBe(createHash('sha256').update(text).digest('hex'))
  })

  it.each([uuidV7(), '../etc', 'latest', ''])('of %j, which is no backup, is not there', async (id) => {
    await expect(readManifest(new MemoryTarget(), id)).rejects.toMatchObject({ fault: 'NoSuchBackup' })
  })
})

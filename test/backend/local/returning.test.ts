import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import type { Location } from '../../../src/model/location.ts'
import { newLocation } from '../contract.ts'

/** Asked for before the file system's `stat`: here the backend asks whether its disk is there. */
const beforeStat = vi.hoisted(() => ({ run: async (_path: unknown) => {} }))
vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>()
  const stat = async (path: string) => {
    await beforeStat.run(path)
    return real.stat(path)
  }
  return { ...real, stat }
})

const BYTES = Buffer.from('hello')
const limit = { maxBytes: 100 }
let root: string
let backend: LocalBackend
let at: Location
let isBack: boolean

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'strongroom-returning-'))
  backend = new LocalBackend({ root, fsync: false })
  at = newLocation()
  await backend.write(at, BYTES, limit)
})
afterEach(async () => {
  beforeStat.run = async () => {}
  await rm(root, { recursive: true })
})

/** Takes the disk away, to bring it back between a look for a file and the question whether the disk is there. */
async function comesBackJustAfterTheLook(): Promise<void> {
  const [objects, elsewhere] = [join(root, 'objects'), join(root, 'elsewhere')]
  await rename(objects, elsewhere)
  isBack = false
  beforeStat.run = async (path) => {
    if (path !== objects) return
    beforeStat.run = async () => {}
    await rename(elsewhere, objects)
    isBack = true
  }
}

async function names(): Promise<Location[]> {
  const found: Location[] = []
  for await (const { location } of backend.list()) found.push(location)
  return found
}

describe('a disk that comes back just after a look for a file', () => {
  beforeEach(comesBackJustAfterTheLook)
  afterEach(() => expect(isBack).toBe(true))

  it.each<[string, () => Promise<unknown>, unknown]>([
    ['read', async () => buffer(await backend.read(at, { size: 5 })), BYTES],
    ['read whole', async () => Buffer.from(await backend.readWhole(at, 5)), BYTES],
    ['measured', () => backend.size(at), 5],
    [
      'found by a list',
      names,
      expect.arrayContaining([expect.objectContaining({ bucket: expect.any(String) })]),
    ],
    ['completed', () => backend.complete(at, { offset: 5, notes: null }), undefined],
    ['copied', () => backend.copy(at, newLocation()), undefined],
  ])('has what was on it: it is %s', async (_, work, found) => {
    expect(await work()).toEqual(found)
  })

  it('loses what was to be removed', async () => {
    await backend.remove(at)
    expect(await names()).toEqual([])
  })

  it('has the end cut off that was to be taken back', async () => {
    await backend.goBack(at, { to: { offset: 2, notes: null } })
    expect(await backend.size(at)).toBe(2)
  })
})

it('still says that something is missing which is missing', async () => {
  const nowhere = newLocation()
  await expect(backend.read(nowhere)).rejects.toMatchObject({ code: 'MissingBytes' })
  await expect(backend.readWhole(nowhere, 5)).rejects.toMatchObject({ code: 'MissingBytes' })
  await expect(backend.copy(nowhere, newLocation())).rejects.toMatchObject({ code: 'MissingBytes' })
  expect(await backend.size(nowhere)).toBeNull()
})

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dataFolderAdvice } from '../../src/model/system-reason.ts'

const denied = Object.assign(new Error('no'), { code: 'EACCES' })
const uid = process.getuid?.()

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'strongroom-advice-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('the advice about a data folder that this user may not use', () => {
  it('is to give it to him', () => {
    expect(dataFolderAdvice(denied, folder)).toBe(
      `give it to this user (chown -R ${uid} ${folder}), or STORAGE_DATA_DIR names another folder`,
    )
  })

  it('is to make it for him where there is none, which chown cannot', () => {
    const missing = join(folder, 'data')
    expect(dataFolderAdvice(denied, missing)).toBe(
      `make it for this user (install -d -o ${uid} ${missing}), or STORAGE_DATA_DIR names another folder`,
    )
  })

  it('says nothing of rights where those are not what is missing', () => {
    const full = Object.assign(new Error('no'), { code: 'ENOSPC' })
    expect(dataFolderAdvice(full, folder)).toBe('STORAGE_DATA_DIR names another folder')
  })
})

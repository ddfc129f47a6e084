import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'
import { S3Backend } from '../../src/backend/s3.ts'
import { readConfig } from '../../src/config.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { describeBackend } from './contract.ts'

let spoolDir: string
beforeAll(async () => {
  spoolDir = await mkdtemp(join(tmpdir(), 'strongroom-spool-'))
})
afterAll(() => rm(spoolDir, { recursive: true }))

describeWithS3('an S3 store', (s3) => {
  const open = async (env: Record<string, string> = {}, copyAtOnce?: number) => {
    const { s3: settings } = readConfig({ ...(await s3Env(s3)), ...env })
    if (!settings) throw new Error('there are no settings for S3')
    return new S3Backend({ ...settings, spoolDir, ...(copyAtOnce !== undefined && { copyAtOnce }) })
  }

  describeBackend('S3Backend', () => open())

  const smallParts = {
    STORAGE_S3_PREFIX: 'some/where',
    STORAGE_S3_PART_SIZE: '5242880',
    // One part in memory, one on its way out; all others in files.
    STORAGE_S3_BUFFER: '10485760',
    STORAGE_S3_REQUEST_CHECKSUM: 'when_supported',
  }
  describeBackend('S3Backend with a prefix, checksums, small parts and little memory', () =>
    open(smallParts, 5 * 1024 * 1024),
  )
})

import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { seededBytes } from '../../support/seeded-bytes.ts'
import { describeProgram, LARGE } from './describe-program.ts'

const WALK = fileURLToPath(new URL('boto3-client.py', import.meta.url))
const LOCKS = fileURLToPath(new URL('boto3-locks.py', import.meta.url))
const VERSIONS = fileURLToPath(new URL('boto3-versions.py', import.meta.url))

/** Of lines of JSON, each a name and a value. */
const stepsOf = (printed: string) =>
  Object.fromEntries(
    printed
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  )

/** Debian's Python has Debian's packages; another on the PATH has its own. */
const PYTHON = ['python3', '/usr/bin/python3'].find((python) => {
  try {
    execFileSync(python, ['-c', 'import boto3'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})

describeProgram(PYTHON ?? 'python3-boto3', 'boto3', (place) => {
  it('does all that it can do', async () => {
    await place().write('large.bin', seededBytes('boto3', LARGE))
    const printed = await place().run(PYTHON ?? '', [WALK, place().server.endpoint, 'by-boto3', 'large.bin'])
    expect(stepsOf(printed)).toEqual({
      buckets: ['by-boto3'],
      large: true,
      head: [{ of: 'a' }, 'a/b', true],
      pages: [10, 10, 5],
      listed: true,
      folders: ['in/', 'many/'],
      presigned: true,
      'presigned put': 200,
      'by url': 'by url',
      'presigned post': [204, 413],
      'by form': 'by form',
      'conditional put': [null, 'PreconditionFailed'],
      'no such key': 'NoSuchKey',
      lifecycle: [['all', 'uploads'], true],
      'no lifecycle': 'NoSuchLifecycleConfiguration',
      tags: [
        [
          ['a', '1'],
          ['b', 'two words'],
        ],
        [
          ['a', '1'],
          ['b', 'two words'],
        ],
        [['c', '3']],
      ],
      'changed tags': [[['d', '']], []],
      'tag count': 2,
      deleted: 32,
      bucket: 'NoSuchBucket',
    })
  })

  it('locks versions, and cannot remove them', async () => {
    const printed = await place().run(PYTHON ?? '', [LOCKS, place().server.endpoint, 'locks-by-boto3'])
    expect(stepsOf(printed)).toEqual({
      none: 'ObjectLockConfigurationNotFoundError',
      configuration: { Mode: 'COMPLIANCE', Days: 2 },
      shorter: 'AccessDenied',
      governance: 'NotImplemented',
      default: ['COMPLIANCE', true],
      retention: ['COMPLIANCE', true],
      'retention back': 'AccessDenied',
      'hold off before': null,
      hold: ['OFF', 'ON'],
      'hold off': 'AccessDenied',
      sent: ['COMPLIANCE', 'ON', true],
      copied: ['COMPLIANCE', true],
      parts: ['COMPLIANCE', 'ON'],
      deleted: ['AccessDenied', 'AccessDenied'],
      'deleted many': ['AccessDenied', true],
      there: true,
      unlockable: ['InvalidArgument', 'InvalidRequest'],
      unlocked: 'NoSuchObjectLockConfiguration',
    })
  })

  it('reads, copies, lists and deletes versions', async () => {
    const printed = await place().run(PYTHON ?? '', [VERSIONS, place().server.endpoint, 'versions-by-boto3'])
    expect(stepsOf(printed)).toEqual({
      before: null,
      after: 'Enabled',
      read: ['of before', 'text 0', 'text 1', 'text 2'],
      marker: [true, true],
      hidden: 'NoSuchKey',
      'by id': 'MethodNotAllowed',
      'brought back': ['text 0', true, 'text 0'],
      pages: [7, 7, 7, 5],
      latest: 21,
      deleted: [3, []],
      left: true,
      'not empty': 'BucketNotEmpty',
      bucket: 'NoSuchBucket',
    })
  })
})

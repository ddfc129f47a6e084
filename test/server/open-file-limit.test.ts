import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import {
  affordableConnections,
  whyFewerConnections,
  whyTooFewFiles,
} from '../../src/server/open-file-limit.ts'
import { MAIN } from '../support/command.ts'

describe('a process that may have few files open', () => {
  it('is told how many it needs, and how to let it, before its own files are read', async () => {
    const command = `ulimit -n 64 && exec '${process.execPath}' '${MAIN}' serve`
    const failure = await promisify(execFile)('sh', ['-c', command]).catch((error) => error)
    expect(failure).toMatchObject({ code: 1, stdout: '' })
    expect(failure.stderr).toMatch(
      /^strongroom: this process may have only 64 files open, .*LimitNOFILE=.*\n$/,
    )
  })

  it.each([
    [255, /only 255 files/],
    [256, null],
    [null, null],
  ])('of %j is told so: %j', (most, sentence) => {
    if (sentence === null) expect(whyTooFewFiles(most)).toBeNull()
    else expect(whyTooFewFiles(most)).toMatch(sentence)
  })

  it('has at most half of them for connections', () => {
    expect(affordableConnections(20_000, 1048)).toBe(500)
    expect(affordableConnections(100, 1048)).toBe(100)
    expect(affordableConnections(20_000, null)).toBe(20_000)
  })

  it('hears of fewer connections only where they are few, or more were asked for', () => {
    const asked = { wanted: 50_000, isDefault: false }
    const unasked = { wanted: 20_000, isDefault: true }
    expect(whyFewerConnections(10_000, asked)).toMatch(/^only 10000 connections, not the 50000 .*ulimit -n/)
    expect(whyFewerConnections(50_000, asked)).toBeNull()
    expect(whyFewerConnections(10_000, unasked)).toBeNull()
    expect(whyFewerConnections(500, unasked)).toMatch(/^only 500 connections/)
  })
})

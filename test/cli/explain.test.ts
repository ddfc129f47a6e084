import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { explain } from '../../src/cli/explain.ts'
import { newFolder, removeFolder, strongroom } from '../support/command.ts'

let folder: string
beforeAll(async () => {
  folder = await newFolder()
  await writeFile(join(folder, 'file'), '')
})
afterAll(() => removeFolder(folder, []))

describe('what keeps a server from starting', () => {
  it.each<[what: string, env: Record<string, string>, sentence: RegExp]>([
    [
      'an address of another machine',
      { STORAGE_HOST: '192.0.2.1' },
      /192\.0\.2\.1 is no address of this machine/,
    ],
    [
      'a host that nobody knows',
      { STORAGE_HOST: 'nowhere.invalid' },
      /nobody knows the host nowhere\.invalid/,
    ],
    [
      'an address in brackets',
      { STORAGE_HOST: '[::1]' },
      /STORAGE_HOST must be an address or a name without brackets/,
    ],
    [
      'a data folder in a file',
      { STORAGE_DATA_DIR: 'file/data' },
      /it, or what is above it, is not a folder/,
    ],
    [
      'a data folder in the kernel',
      { STORAGE_DATA_DIR: '/sys/data' },
      /keys\.json cannot be written: .*STORAGE_DATA_DIR/,
    ],
  ])('is said in one sentence: %s', async (_, env, sentence) => {
    const ended = await strongroom(['serve'], { cwd: folder, env: { STORAGE_PORT: '0', ...env } })
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toMatch(/^strongroom: [^\n]+\n$/)
    expect(ended.stderr).toMatch(sentence)
    expect(ended.stderr).not.toMatch(/\bE[A-Z]{4,}\b/)
  })
})

const refused = (fields: object) => explain(Object.assign(new Error('EXXX: its own words'), fields))

describe("the system's errors", () => {
  it.each([
    [
      { code: 'EACCES', syscall: 'listen', address: '0.0.0.0', port: 80 },
      /may not listen on 0\.0\.0\.0:80: ports below/,
    ],
    [
      {
        code: 'EADDRINUSE',
        syscall: 'listen',
        address: '::',
        port: 81,
        setting: 'STORAGE_S3_PROTOCOL_PORT',
      },
      /already on \[::\]:81\. Stop the other server, or set STORAGE_S3_PROTOCOL_PORT to another port/,
    ],
    [
      { code: 'EADDRINUSE', syscall: 'listen', address: '::', port: 80 },
      /already on \[::\]:80\. Stop the other server/,
    ],
    [
      { code: 'EADDRNOTAVAIL', syscall: 'listen', address: 'fd00::1', port: 80 },
      /fd00::1 is no address of this/,
    ],
    [{ code: 'EPERM', syscall: 'listen', address: '::', port: 80 }, /cannot listen on \[::\]:80 \(EPERM\)/],
    [
      { code: 'EACCES', syscall: 'mkdir', path: '/srv/x' },
      /^strongroom: \/srv\/x: this user may not do that there$/,
    ],
    [
      { code: 'ENOENT', syscall: 'mkdir', path: '/srv/x' },
      /^strongroom: \/srv\/x: it, or a folder above it, is not there/,
    ],
    [
      { code: 'EROFS', syscall: 'open', path: '/srv/x' },
      /^strongroom: \/srv\/x: its file system is read-only$/,
    ],
    [{ code: 'ENOSPC', syscall: 'write' }, /^strongroom: its disk is full$/],
    [{ code: 'EMFILE', syscall: 'open', path: '/srv/x' }, /^strongroom: \/srv\/x: .*too many files open/],
    [{ code: 'EWHATEVER' }, /^strongroom: EXXX: its own words$/],
  ])('of %j are sentences', (fields, sentence) => {
    expect(refused(fields)).toMatch(sentence)
  })

  it('are not what a fault of ours is: that comes with its stack', () => {
    expect(explain(new TypeError('x'))).toMatch(/^strongroom: TypeError: x\n +at /)
  })
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FolderTarget } from '../../../src/jobs/backup/folder-target.ts'
import { canMount, mountSmallDisk } from '../../support/small-disk.ts'
import { describeTarget, pathsOf, textOf } from './target-contract.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'strongroom-backup-folder-'))
})
afterAll(() => rm(folder, { recursive: true }))

let count = 0
function newTarget(root = join(folder, 'above', String(count++))): { target: FolderTarget; root: string } {
  return { root, target: new FolderTarget({ root, name: root, fsync: true }) }
}

describe('a folder', () => {
  describeTarget(async () => newTarget().target)

  it('is readable for its owner only, and so is all in it', async () => {
    const { target, root } = newTarget()
    await target.write('id/rows/objects.ndjson', Buffer.from('x'))
    expect((await stat(root)).mode & 0o777).toBe(0o700)
    expect((await stat(join(root, 'id/rows'))).mode & 0o777).toBe(0o700)
    expect((await stat(join(root, 'id/rows/objects.ndjson'))).mode & 0o777).toBe(0o600)
  })

  it('that cannot be made is refused, with its name, and nobody tries for ever', async () => {
    await symlink(join(folder, 'not mounted'), join(folder, 'link'))
    for (const root of ['/proc/strongroom/backups', join(folder, 'link', 'backups')]) {
      await expect(newTarget(root).target.check()).rejects.toMatchObject({
        fault: 'TargetUnavailable',
        message: expect.stringContaining(`${root} cannot be used: `),
      })
    }
  })

  it('loses what one has left who was killed while he tried it', async () => {
    const { target, root } = newTarget()
    await target.write('id/file', Buffer.from('x'))
    await writeFile(join(root, 'check.new-0123456789abcdef'), 'check')
    await target.check()
    expect(await readdir(root)).toEqual(['id'])
  })

  it('takes a file of its file system without copying it', async () => {
    const { target, root } = newTarget()
    const source = join(folder, 'source')
    await writeFile(source, 'bytes')
    expect(await target.link('id/bytes/aa/hash', source)).toBe('made')
    expect(await target.link('id/bytes/aa/hash', source)).toBe('there')
    await target.flush()
    expect(await textOf(target, 'id/bytes/aa/hash')).toBe('bytes')
    expect((await stat(join(root, 'id/bytes/aa/hash'))).ino).toBe((await stat(source)).ino)
  })

  it('says of what it cannot link that it is to be written', async () => {
    const { target } = newTarget()
    await mkdir(join(folder, 'source-folder'))
    expect(await target.link('id/bytes/bb/hash', join(folder, 'source-folder'))).toBeNull()
    expect(await target.exists('id/bytes/bb/hash')).toBeNull()
  })

  it.runIf(canMount)('cannot link from another file system', async () => {
    const disk = mountSmallDisk('size=1m')
    try {
      const { target } = newTarget()
      await writeFile(join(disk.folder, 'source'), 'bytes')
      expect(await target.link('id/bytes/bb/other', join(disk.folder, 'source'))).toBeNull()
      expect(await pathsOf(target, '')).toEqual([])
    } finally {
      disk.remove()
    }
  })

  it.runIf(canMount)('that is full says so by its name, and keeps nothing of the file', async () => {
    const disk = mountSmallDisk('size=1m')
    try {
      const { target, root } = newTarget(join(disk.folder, 'target'))
      await target.write('id/small', Buffer.from('x'))
      const large = Readable.from(
        Array.from({ length: 40 }, () => Buffer.alloc(100_000)),
        { objectMode: false },
      )
      await expect(target.write('id/large', large)).rejects.toMatchObject({
        code: 'StorageFull',
        message: `${root} cannot take more: its disk is full`,
      })
      expect(await readdir(join(root, 'id'))).toEqual(['small'])
      await target.write('id/after', Buffer.from('x'))
    } finally {
      disk.remove()
    }
  })

  it.runIf(canMount)('that cannot be written says why, by its name', async () => {
    const disk = mountSmallDisk('size=1m')
    try {
      const { target, root } = newTarget(join(disk.folder, 'target'))
      await target.check()
      disk.remount('ro')
      await expect(target.check()).rejects.toMatchObject({
        fault: 'TargetUnavailable',
        message: `${root} cannot be used: its file system is read-only`,
      })
    } finally {
      disk.remove()
    }
  })

  it('knows what a killed write has left for no file, and removes it when it is told to', async () => {
    const { target, root } = newTarget()
    await target.write('log/wal/1', Buffer.from('x'))
    const writer = spawn(process.execPath, ['-e', HALF_A_FILE, join(root, 'log/wal/2.new-0123456789abcdef')])
    await once(writer.stdout, 'data')
    writer.kill('SIGKILL')
    await once(writer, 'exit')
    expect(await readdir(join(root, 'log/wal'))).toHaveLength(2)

    expect(await pathsOf(target, 'log/')).toEqual(['log/wal/1'])
    await target.removeUnfinished('log/')
    expect(await readdir(join(root, 'log/wal'))).toEqual(['1'])
  })

  it('is empty as long as nobody has anything in it', async () => {
    const { target, root } = newTarget()
    expect(await target.isEmpty()).toBe(true)
    await mkdir(join(root, 'lost+found'), { recursive: true })
    expect(await target.isEmpty()).toBe(true)
    await writeFile(join(root, '.profile'), '')
    expect(await target.isEmpty()).toBe(false)
  })

  it('does not follow links to what is elsewhere when it lists', async () => {
    const { target, root } = newTarget()
    await target.write('id/file', Buffer.from('x'))
    await symlink('/etc', join(root, 'id/etc'))
    await symlink('/etc/passwd', join(root, 'id/passwd'))
    expect(await pathsOf(target, '')).toEqual(['id/file'])
    expect(await target.exists('id/passwd')).toBeNull()
  })

  it('changes no file that was linked when the source is replaced', async () => {
    const { target, root } = newTarget()
    const source = join(folder, 'replaced-source')
    await writeFile(source, 'bytes')
    await target.link('id/bytes/cc/hash', source)
    await rm(source)
    await appendFile(source, 'others')
    expect(await readFile(join(root, 'id/bytes/cc/hash'), 'utf8')).toBe('bytes')
  })
})

/** Writes a part of a file and says so. */
const HALF_A_FILE = `
  require('node:fs').writeFileSync(process.argv[1], 'half')
  console.log('written')
  setInterval(() => {}, 1000)
`

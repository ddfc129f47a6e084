import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BackupTarget } from '../../../src/jobs/backup/target.ts'

/** What every target promises (src/jobs/backup/target.ts). @param open makes an empty one */
export function describeTarget(open: () => Promise<BackupTarget>): void {
  describe('as any target', () => {
    let target: BackupTarget
    beforeAll(async () => {
      target = await open()
    })
    afterAll(() => target.close())

    it.each([
      ['nothing', 0],
      ['a few bytes', 10],
      ['more than a batch', 3_000_000],
    ])('gives back %s, as bytes and as a stream', async (_, size) => {
      const bytes = randomBytes(size)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      expect(await target.write('a/whole', bytes)).toEqual({ size, sha256 })
      expect(await target.write('a/stream', inPieces(bytes))).toEqual({ size, sha256 })
      for (const path of ['a/whole', 'a/stream']) {
        expect(bytes.equals(await buffer(await target.read(path)))).toBe(true)
        expect(await target.exists(path)).toBeGreaterThanOrEqual(size)
      }
    })

    it('replaces a file', async () => {
      await target.write('replaced/file', Buffer.from('old'))
      await target.write('replaced/file', inPieces(Buffer.from('new')))
      expect(await textOf(target, 'replaced/file')).toBe('new')
    })

    it('leaves what was there when a body breaks halfway', async () => {
      await target.write('kept/file', Buffer.from('old'))
      const broken = Readable.from(
        (function* () {
          yield randomBytes(2_000_000)
          throw new Error('the body broke')
        })(),
        { objectMode: false },
      )
      await expect(target.write('kept/file', broken)).rejects.toThrow('the body broke')
      await expect(target.write('kept/other', await brokenAlready())).rejects.toThrow()
      expect(await textOf(target, 'kept/file')).toBe('old')
      expect(await pathsOf(target, 'kept/')).toEqual(['kept/file'])
    })

    it('lets go of what is not read to its end, and of a body that it cannot take', async () => {
      await target.write('left/file', randomBytes(1_000_000))
      const [unread, begun] = [await target.read('left/file'), await target.read('left/file')]
      for await (const _ of begun) break
      unread.destroy()
      expect([unread.destroyed, begun.destroyed]).toEqual([true, true])
      await target.write('left/in-the-way', Buffer.from('x'))
      const body = inPieces(randomBytes(100_000))
      await target.write('left/in-the-way/file', body).catch(() => {}) // only a folder minds
      expect(body.destroyed).toBe(true)
    })

    it('says when a file is missing', async () => {
      await expect(target.read('none/file')).rejects.toMatchObject({
        fault: 'MissingBackupFile',
        message: expect.stringMatching(`^none/file(.age)? is missing in ${target.name}$`),
      })
      expect(await target.exists('none/file')).toBeNull()
    })

    it('lists what is below a prefix, and its folders', async () => {
      const names = Array.from({ length: 70 }, (_, index) => `listed/${index % 3}/${index}`)
      await Promise.all(names.map((path) => target.write(path, Buffer.from(path))))
      await target.write('listed-not/x', Buffer.from('x'))
      expect(await pathsOf(target, 'listed/')).toEqual([...names].sort())
      expect(await pathsOf(target, 'nowhere/')).toEqual([])
      expect(await target.folders()).toEqual(expect.arrayContaining(['listed', 'listed-not']))
      for await (const { modifiedAt, size } of target.list('listed/')) {
        expect(Math.abs(modifiedAt.getTime() - Date.now())).toBeLessThan(3_600_000)
        expect(size).toBeGreaterThan(0)
      }
    })

    it('removes a file, or all below a prefix; nothing twice is a success', async () => {
      for (const path of ['gone/a', 'gone/b/c', 'gone-not/d']) await target.write(path, Buffer.from('x'))
      await target.remove('gone/a')
      await target.remove('gone/a')
      expect(await pathsOf(target, 'gone/')).toEqual(['gone/b/c'])
      await target.removeAll('gone/')
      await target.removeAll('gone/')
      expect(await pathsOf(target, 'gone/')).toEqual([])
      expect(await pathsOf(target, 'gone-not/')).toEqual(['gone-not/d'])
      await expect(target.removeAll('')).rejects.toThrow()
    })

    it.each(['../x', 'a/../x', '/etc/passwd', 'a//b', 'a/', '', '.', 'a/.hidden', 'a\\b', 'ä', 'a/x.new-0'])(
      'takes %j for no path',
      async (path) => {
        await expect(target.write(path, Buffer.from('x'))).rejects.toThrow('Not a path')
        await expect(target.read(path)).rejects.toThrow('Not a path')
      },
    )

    it('can be written, and nothing of the question is left', async () => {
      await target.check()
      expect((await pathsOf(target, '')).filter((path) => path.startsWith('check'))).toEqual([])
    })
  })
}

export async function textOf(target: BackupTarget, path: string): Promise<string> {
  return (await buffer(await target.read(path))).toString()
}

export async function pathsOf(target: BackupTarget, prefix: string): Promise<string[]> {
  const paths: string[] = []
  for await (const { path } of target.list(prefix)) paths.push(path)
  return paths.sort()
}

function inPieces(bytes: Buffer): Readable {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += 70_000) pieces.push(bytes.subarray(at, at + 70_000))
  return Readable.from(pieces, { objectMode: false })
}

/** One whose error is past when it is given. */
async function brokenAlready(): Promise<Readable> {
  const body = new Readable({ read() {} })
  const closed = new Promise((resolve) => body.on('error', () => {}).once('close', resolve))
  body.destroy(new Error('broken before'))
  await closed
  return body
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { expect, it } from 'vitest'
import { FolderTarget } from '../../../src/jobs/backup/folder-target.ts'
import { ROOT } from '../../support/project-texts.ts'
import { pathsOf } from './target-contract.ts'

const PIECES = 5
const PIECE = 100_000

/** Writes files of bytes that are all the same, four at a time, and names each once it is written. */
const WRITER = `
  const { Readable } = await import('node:stream')
  const { FolderTarget } = await import(process.argv[1])
  const target = new FolderTarget({ root: process.argv[2], name: 'target', fsync: true })
  let next = 0
  const write = async () => {
    for (;;) {
      const number = next++
      const pieces = Array.from({ length: ${PIECES} }, () => Buffer.alloc(${PIECE}, number))
      await target.write('id/' + number % 50, Readable.from(pieces, { objectMode: false }))
      console.log('id/' + number % 50)
    }
  }
  await Promise.all([write(), write(), write(), write()])
`

it('of a process that is killed while it writes, every file is whole, and what it has named is there', async () => {
  const root = await mkdtemp(join(tmpdir(), 'strongroom-backup-killed-'))
  const library = pathToFileURL(join(ROOT, 'dist/jobs/backup/folder-target.js')).href
  try {
    for (const files of [1, 7, 30, 90, 200]) {
      const writer = spawn(process.execPath, ['--input-type=module', '-e', WRITER, library, root], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const exited = once(writer, 'exit')
      const named = new Set<string>()
      let count = 0
      for await (const path of createInterface({ input: writer.stdout })) {
        named.add(path)
        if (++count === files) writer.kill('SIGKILL')
      }
      await exited

      const target = new FolderTarget({ root, name: 'target', fsync: true })
      const paths = await pathsOf(target, 'id/')
      expect(paths).toEqual(expect.arrayContaining([...named]))
      for (const path of paths) {
        const bytes = await buffer(await target.read(path))
        expect(bytes.equals(Buffer.alloc(PIECES * PIECE, bytes[0])), path).toBe(true)
      }
      await target.removeUnfinished('')
    }
  } finally {
    await rm(root, { recursive: true })
  }
})

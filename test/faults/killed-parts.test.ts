import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import type { Part } from '../../src/backend/resumable-backend.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const WRITER = fileURLToPath(new URL('killed-parts/writer.mjs', import.meta.url))
const ROUNDS = isFull ? 60 : 4

/** Of one version, what the writer has said last, with the parts that were acknowledged by then. */
interface Said {
  what: 'part' | 'discarding' | 'discarded' | 'assembling' | 'assembled'
  parts: Part[]
}

const seed = newSeed()
const random = new Random(seed)
const tally = new Tally('kill -9 while versions are made of parts')
let root: string
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'strongroom-parts-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))
afterAll(() => tally.print())

it(`a part that was acknowledged is there after kill -9, an interrupted assemble can be done again, and nothing leaks (FAULTS_SEED=${seed})`, {
  timeout: 300_000,
}, async () => {
  const ends = new Map<string, number>()
  // Both moments are met: parts on their way, and versions that are being made of them.
  for (let round = 0; round < ROUNDS || !ends.has('part') || !ends.has('assembling'); round++) {
    const bucket = randomUUID()
    const said = await workUntilKilled(bucket, 1 + random.below(60), round % 2 === 0 ? 'part' : 'assembling')
    const backend = new LocalBackend({ root, fsync: false })
    const whole = new Map<string, number>()
    for (const [version, { what, parts }] of said) {
      ends.set(what, (ends.get(what) ?? 0) + 1)
      const at = { bucket, version }
      if (what === 'discarding' || what === 'discarded') {
        await backend.discard(at)
        continue
      }
      await backend.assemble(at, parts)
      const expected = Buffer.concat(
        parts.map(({ number, size }) => Buffer.alloc(size, `${version} ${number} `)),
      )
      const isThere = expected.equals(await backend.readWhole(at, expected.length))
      if (!isThere) tally.lost++
      expect([version, isThere]).toEqual([version, true])
      tally.acknowledged += parts.length
      whole.set(version, expected.length)
    }
    for await (const write of backend.unfinished()) await backend.abandon(write)
    const listed = new Map<string, number>()
    for await (const { location, size } of backend.list()) listed.set(location.version, size)
    expect(listed).toEqual(whole)
    for (const version of whole.keys()) await backend.remove({ bucket, version })
    const files = (await readdir(root, { recursive: true, withFileTypes: true })).filter((one) =>
      one.isFile(),
    )
    tally.leaked += files.length
    expect(files.map(({ parentPath, name }) => join(parentPath, name))).toEqual([])
    expect(await backend.removeFolders(bucket)).toBe(true)
    await backend.close()
    tally.rounds++
  }
})

/** Lets a writer say so many lines, and kills it at the next one about this. @returns by version */
async function workUntilKilled(
  bucket: string,
  lines: number,
  moment: Said['what'],
): Promise<Map<string, Said>> {
  const writer = spawn(process.execPath, [WRITER, root, bucket], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(writer, 'exit')
  const said = new Map<string, Said>()
  let count = 0
  // To the end of what it has said, which is more than that when it is killed.
  for await (const line of createInterface({ input: writer.stdout })) {
    const { what, version, part, parts }: { version: string; part?: Part } & Partial<Said> = JSON.parse(line)
    if (++count >= lines && what === moment) writer.kill('SIGKILL')
    const before = said.get(version)?.parts ?? []
    const kept = part ? [...before.filter(({ number }) => number !== part.number), part] : before
    said.set(version, { what: what ?? 'part', parts: parts ?? kept.sort((a, b) => a.number - b.number) })
  }
  expect((await exited)[1]).toBe('SIGKILL')
  return said
}

import fs, { type PathLike } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

/**
 * What goes wrong with a call: it fails and has done nothing (`undone`; a write has put half of its bytes), or it
 * fails and has done all (`done`). With `lasting`, so does every call from then on: the disk has died.
 */
export interface FileMishap {
  code: 'EIO' | 'ENOSPC' | 'EROFS'
  kind: 'undone' | 'done' | 'lasting'
}

/** The calls of `node:fs/promises` below one folder, in this process, and the mishaps of some of them. */
export interface FileFaults {
  /** The calls since the last `arm`, such as `open`. */
  readonly calls: string[]
  /** Whether the mishap has come about. */
  readonly hasStruck: boolean
  /** Counts from 0 again, and lets call `at` (from 1) have a mishap. None does when `at` is 0. */
  arm(at: number, mishap?: FileMishap): void
  /** Asked before each call; the call waits for it. */
  before: ((call: string) => Promise<void>) | undefined
  /** Takes all of it back. */
  restore(): void
}

type Call = (...args: unknown[]) => Promise<unknown>

const FUNCTIONS = ['copyFile', 'link', 'mkdir', 'open', 'readFile', 'stat', 'unlink', 'utimes', 'writeFile']
const METHODS = ['close', 'datasync', 'stat', 'sync', 'truncate', 'writev']

/** @param folder absolute */
export function injectFileFaults(folder: string): FileFaults {
  const functions = fs.promises as unknown as Record<string, Call>
  let calls: string[] = []
  let armed: { at: number; mishap: FileMishap } | undefined
  let hasStruck = false

  const step = async (name: string, work: () => Promise<unknown>) => {
    calls.push(name)
    const number = calls.length
    await faults.before?.(name)
    const isDue = armed && (number === armed.at || (armed.mishap.kind === 'lasting' && number > armed.at))
    if (!armed || !isDue) return work()
    const { code, kind } = armed.mishap
    hasStruck = true
    // The kernel frees the descriptor whatever it answers.
    if (kind === 'done' || name === 'close') {
      const result = await work()
      // Nobody else can close a file that was opened without their hearing of it.
      if (name === 'open') await (result as FileHandle).close()
    }
    throw Object.assign(new Error(`${code}: injected, ${name}`), { code, isDone: kind === 'done' })
  }

  /** Methods of a file handle; `close` is each one's own. */
  const watch = (file: FileHandle) => {
    const methods = file as unknown as Record<string, Call>
    for (const name of METHODS) {
      const original = methods[name]
      if (!original) throw new Error(`a file handle has no ${name}`)
      methods[name] = (...args) =>
        step(name, () => Reflect.apply(original, file, args)).catch(async (error: unknown) => {
          if (name === 'writev' && isInjected(error)) await writeHalf(file, args[0], args[1])
          throw error
        })
    }
    return file
  }

  const originals = new Map<string, Call>()
  const isBelow = (path: unknown) => String(path as PathLike).startsWith(folder)
  for (const name of FUNCTIONS) {
    const original = functions[name]
    if (!original) throw new Error(`node:fs/promises has no ${name}`)
    originals.set(name, original)
    functions[name] = async (...args) => {
      if (!args.slice(0, 2).some(isBelow)) return original(...args)
      const result = await step(name, () => original(...args))
      return name === 'open' ? watch(result as FileHandle) : result
    }
  }
  syncBuiltinESMExports()

  const faults: FileFaults = {
    get calls() {
      return calls
    },
    get hasStruck() {
      return hasStruck
    },
    arm: (at, mishap = { code: 'EIO', kind: 'undone' }) => {
      calls = []
      hasStruck = false
      armed = at === 0 ? undefined : { at, mishap }
    },
    before: undefined,
    restore: () => {
      for (const [name, original] of originals) functions[name] = original
      syncBuiltinESMExports()
    },
  }
  return faults
}

/** Whether this is a mishap of a call that has done nothing. */
function isInjected(error: unknown): boolean {
  return error instanceof Error && 'isDone' in error && !error.isDone
}

/** As a disk does that fills up in the middle. */
async function writeHalf(file: FileHandle, batch: unknown, position: unknown): Promise<void> {
  const bytes = Buffer.concat(batch as Uint8Array[])
  await file.write(bytes, 0, bytes.length >> 1, position as number)
}

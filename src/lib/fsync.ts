import { closeSync, fsyncSync, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { limitConcurrency } from './concurrency.ts'

/** Flushes an open file to the disk. @param onBegin is told when the flush begins: what is done from then on may be left out */
export function flushFile(file: FileHandle, onBegin?: () => void): Promise<void> {
  turns ??= limitConcurrency(Math.max(1, poolThreads() - 1))
  return turns(() => {
    onBegin?.()
    return file.sync()
  })
}

/** Flushes the file at `path`, or the names in the folder there, to the disk. @param onBegin as `flushFile` */
export async function flushPath(path: string, onBegin?: () => void): Promise<void> {
  const file = await open(path, 'r')
  try {
    await flushFile(file, onBegin)
  } catch (error) {
    if (!hasNoFlush(error)) throw error
  } finally {
    await file.close()
  }
}

/** The same at once. */
export function flushPathSync(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } catch (error) {
    if (!hasNoFlush(error)) throw error
  } finally {
    closeSync(fd)
  }
}

/** Some network file systems have no flush for folders, whose names they write at once. */
function hasNoFlush(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EINVAL'
}

/**
 * A flush blocks a thread of Node's pool, in which all work on files is done, until the disk has answered. One thread is
 * left to the others: with all of them taken by uploads, a small read waits ten times as long. More threads instead do
 * not help, and the pool has started before our first line runs.
 */
let turns: ReturnType<typeof limitConcurrency> | undefined

/** https://docs.libuv.org/en/v1.x/threadpool.html */
function poolThreads(): number {
  return Number(process.env.UV_THREADPOOL_SIZE) || 4
}

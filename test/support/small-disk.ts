import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system of its own in memory, with little room. */
export interface SmallDisk {
  /** Where it is mounted. */
  folder: string
  remount(options: 'ro' | 'rw'): void
  /** Unmounts it, and all that was on it is gone. */
  remove(): void
}

/** @param options of tmpfs (mount(8)), such as `size=8m` */
export function mountSmallDisk(options: string): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'strongroom-disk-'))
  const mount = (how: string) =>
    execFileSync('mount', ['-t', 'tmpfs', '-o', how, 'tmpfs', folder], { stdio: 'pipe' })
  try {
    mount(options)
  } catch (error) {
    rmSync(folder, { recursive: true })
    throw error
  }
  return {
    folder,
    remount: (how) => void execFileSync('mount', ['-o', `remount,${how}`, folder], { stdio: 'pipe' }),
    remove: () => {
      // Lazily: a file may still be open when a test has failed.
      execFileSync('umount', ['-l', folder], { stdio: 'pipe' })
      rmSync(folder, { recursive: true })
    },
  }
}

/** Whether this machine permits mounting: root on Linux, with the right to. */
export const canMount = ((): boolean => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  try {
    mountSmallDisk('size=64k').remove()
    return true
  } catch {
    return false
  }
})()

import type { Failures } from '../jobs/failures.ts'
import { printable } from '../lib/printable.ts'
import { Progress } from './progress.ts'

/** Shows how far a run has come. @param share from 0 to 1 */
export type Show = (text: string, share: number) => void

/**
 * Runs what moves the bytes of objects, and says so when it has stopped in the middle of it, or could not begin.
 *
 * @returns its report; null when another process is moving objects, which is said, and makes the exit code 1
 * @throws what `run` throws
 */
export async function runMove<Report>(run: (show: Show) => Promise<Report | null>): Promise<Report | null> {
  const progress = new Progress()
  let hasBegun = false
  try {
    const report = await run((text, share) => {
      hasBegun = true
      progress.show(text, share)
    })
    progress.clear()
    if (report !== null) return report
  } catch (error) {
    progress.clear()
    if (hasBegun) process.stdout.write('The move has stopped. The next run goes on there.\n')
    throw error
  }
  process.stdout.write('Another process is moving objects at this moment; nothing was done.\n')
  process.exitCode = 1
  return null
}

/** What a report says of objects that a run could not do. @param what has not become of them */
export function failureLines({ count, named }: Failures, what = 'Not moved'): string[] {
  const lines = named.map(({ bucketId, name, why }) => `${what}, ${why}: ${printable(`${bucketId}/${name}`)}`)
  const others = count - named.length
  if (others > 0) lines.push(`${what} either: ${others.toLocaleString('en')} more.`)
  return lines
}

import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** What takes much longer than others of its length, the longest first. A file too many or too few does no harm. */
const LONG = [
  'test/faults/killed-backups.test.ts',
  'test/faults/full-backup-target.test.ts',
  'test/backend/s3/faults.s3.test.ts',
  'test/backend/s3/s3-backend.s3.test.ts',
  'test/cli/migrate-backend.s3.test.ts',
  'test/faults/database-outage.test.ts',
  'test/faults/database-steps.test.ts',
  'test/faults/crashes.test.ts',
  'test/database/opening/poolers.test.ts',
  'test/http/connection/timeouts.test.ts',
  'test/attack/listeners-memory.test.ts',
  'test/docs/commands.test.ts',
  'test/attack/json-that-costs-time.test.ts',
  'test/cli/check/database.test.ts',
  'test/attack/access.test.ts',
  'test/database/connection/answer-limit.test.ts',
  'test/attack/fuzz.test.ts',
  'test/events/subscribers/slow-readers.test.ts',
]

/** So many others begin after each of them: many of the long ones wait more than they do, and leave a processor idle. */
const BETWEEN = 5

/**
 * Vitest begins with the largest files of a project. Here the long ones come first, each with others behind it, so that
 * none is left for the end, when nothing else runs beside it.
 */
export class LongFilesEarly extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const projects = new Set(sorted.map(({ project }) => project))
    return [...projects].flatMap((one) => spread(sorted.filter(({ project }) => project === one)))
  }
}

function spread(files: TestSpecification[]): TestSpecification[] {
  const rankOf = ({ moduleId }: TestSpecification) => LONG.findIndex((file) => moduleId.endsWith(`/${file}`))
  const long = files.filter((file) => rankOf(file) >= 0).toSorted((a, b) => rankOf(a) - rankOf(b))
  const others = files.filter((file) => rankOf(file) < 0)
  const order: TestSpecification[] = []
  for (const file of long) order.push(file, ...others.splice(0, BETWEEN))
  return [...order, ...others]
}

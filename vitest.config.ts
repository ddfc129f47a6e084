import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configDefaults, defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'
import { memoryFolder } from './test/support/memory-folder.ts'
import { MAJORS } from './test/support/postgres-majors.ts'
import { LongFilesEarly } from './test/support/sequencer.ts'

const ON_S3 = 'test/**/*.s3.test.ts'

/** What rests on RLS and roles, once more on each PostgreSQL. */
const ON_EACH = [
  'test/database/bucket-policies.test.ts',
  'test/database/dump/{load,snapshot}.test.ts',
  'test/database/queries/events.test.ts',
  'test/database/connection/pipelined-reads.test.ts',
  'test/database/queries/listing.test.ts',
  'test/database/plain-sql-rows.test.ts',
  'test/database/policies.test.ts',
  'test/database/policy-needs.test.ts',
  'test/database/privileges.test.ts',
  'test/database/request-settings.test.ts',
  'test/database/sql-changes.test.ts',
  'test/database/sql-contract.test.ts',
  'test/database/connection/turns.test.ts',
  'test/events/subscribers/visibility.test.ts',
  'test/jobs/cleanup/listed-versions.test.ts',
]

/** Of these, what would be told otherwise if a superuser's login asked anything as itself: 18 is that of `server`, too. */
const AS_A_CALLER = [
  'test/database/bucket-policies.test.ts',
  'test/database/connection/pipelined-reads.test.ts',
  'test/database/connection/turns.test.ts',
  'test/database/policies.test.ts',
  'test/database/privileges.test.ts',
  'test/database/request-settings.test.ts',
  'test/events/subscribers/visibility.test.ts',
]

/** What needs neither a database nor what `npm run build` makes, and takes a moment: `npm run test:quick`. */
const UNIT = [
  'test/architecture.test.ts',
  'test/{bench,config,lib,model,telemetry}/**/*.test.ts',
  'test/backend/{drain,local/send-buffers,s3/resumable/assembly-plan}.test.ts',
  'test/cli/sql/statements.test.ts',
  'test/compose/services.test.ts',
  'test/docs/{errors,references,settings}.test.ts',
  'test/faults/order/*.test.ts',
  'test/http/connection/unread.test.ts',
  'test/http/message/{conditionals,content-disposition,form-framing,object-response,ranges,robots-tag}.test.ts',
  'test/http/realtime/{event-frames,shared-filters}.test.ts',
  'test/jobs/backup/{backups,entries,file-hash,folder-target,manifest,open-target,verify}.test.ts',
  'test/jobs/{schedule,throttle}.test.ts',
  'test/server/{keys,node-version,terminal-log}.test.ts',
  'test/telemetry/**/*.test.ts',
  'test/storage/buckets/{bucket-rules,known-buckets}.test.ts',
  'test/storage/credentials/secret-seal.test.ts',
  'test/storage/detection/*.test.ts',
  'test/storage/links/url-token.test.ts',
  'test/storage/object/{content-type,list-cursor,object-name}.test.ts',
  'test/storage/reading/row-cache.test.ts',
  'test/storage/resumable/late-hash.test.ts',
]

/** What meddles with the process that it runs in: how files are read and written, and how much memory that takes. */
const BACKEND = 'test/backend/**/*.test.ts'
const CLIENTS = 'test/clients/**/*.test.ts'
/** Of these, what moves bytes: once more with an S3 store, and all others only in full size. */
const CLIENTS_OF_BYTES = [
  'test/clients/{content-encoding,downloads,many-clients,moves,python-sdk,uploads}.test.ts',
  'test/clients/{resumable,resumable-resume,resumable-signed}.test.ts',
  'test/clients/s3/{awscli,boto3,rclone}.test.ts',
]
const FAULTS = 'test/faults/**/*.test.ts'
const BROWSER = 'test/browser/**/*.test.ts'

const POSTGRES = 'test/support/global-setup.ts'

/** One after the other in one process, which loads everything once: for files that leave nothing behind in it. */
const SHARED = { isolate: false }

/** Files that matter are on a real disk; all others go with the run, and are in memory if it has room. */
const ON_DISK = { TMPDIR: tmpdir() }
const isLarge = process.env.FAULTS === 'full' || process.env.ATTACK === 'full'
const memory = isLarge ? undefined : memoryFolder()
if (memory !== undefined) process.env.TMPDIR ??= memory

/** What one project has made of a file serves all others; and no other run, in which the file may be elsewhere. */
const modules = join(tmpdir(), `strongroom-modules-${process.pid}`)
process.once('exit', () => rmSync(modules, { recursive: true, force: true }))

/** Long enough for a machine that is busy with other work: what must be quick is measured in the bench. */
const PATIENCE = { testTimeout: 120_000, hookTimeout: 120_000 }

/** Who migrates and serves there (test/support/ways-setup.ts). */
const WAYS = ['superuser', 'owner', 'grant']
/**
 * One way on each, unless all are asked on all; and what of ON_EACH. How lists are sorted takes long, and is told by 15, and
 * by the 18 of `server`.
 */
const IN_THE_GATE: Record<string, string[]> = {
  'postgres-15-grant': ON_EACH,
  'postgres-17-owner': ON_EACH.filter((file) => !file.endsWith('/listing.test.ts')),
  'postgres-18-superuser': AS_A_CALLER,
}
const isFull = process.env.DATABASES === 'full'

export default defineConfig({
  test: {
    // Two cores, and two files more for the time that others wait for something.
    maxWorkers: 4,
    sequence: { sequencer: LongFilesEarly },
    experimental: { fsModuleCache: true, fsModuleCachePath: modules },
    // Each has what it needs, which is started for the projects that run and no others.
    projects: [
      project('unit', { include: UNIT, ...SHARED }),
      project('server', {
        include: ['test/**/*.test.ts'],
        exclude: [...configDefaults.exclude, ...UNIT, BACKEND, CLIENTS, FAULTS, BROWSER, ON_S3],
        globalSetup: POSTGRES,
        ...SHARED,
      }),
      project('backend', {
        include: [BACKEND],
        exclude: [...configDefaults.exclude, ...UNIT, ON_S3],
        env: ON_DISK,
      }),
      project('clients', { include: [CLIENTS], globalSetup: POSTGRES, ...SHARED }),
      project('browser', { include: [BROWSER], globalSetup: POSTGRES }),
      project('faults', {
        include: [FAULTS],
        exclude: [...configDefaults.exclude, ...UNIT, ON_S3],
        globalSetup: POSTGRES,
        ...SHARED,
      }),
      project('s3', {
        // The clients' tests once more, against a server with an S3 store.
        include: [ON_S3, ...(process.env.CLIENTS === 'full' ? [CLIENTS] : CLIENTS_OF_BYTES)],
        globalSetup: [POSTGRES, 'test/support/s3-setup.ts'],
        // From 2027 on the SDK's new versions refuse Node 20, and today's say so.
        env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
        ...SHARED,
      }),
      ...MAJORS.filter(({ isHere }) => isHere)
        .flatMap(({ major }) => WAYS.map((way) => `postgres-${major}-${way}`))
        .filter((name) => isFull || name in IN_THE_GATE)
        .map((name) =>
          project(name, {
            include: (!isFull && IN_THE_GATE[name]) || ON_EACH,
            globalSetup: 'test/support/ways-setup.ts',
            ...SHARED,
          }),
        ),
    ],
  },
})

function project(name: string, test: TestProjectInlineConfiguration['test']): TestProjectInlineConfiguration {
  return { test: { name, ...PATIENCE, ...test } }
}

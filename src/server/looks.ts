import type { StatsFs } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import {
  type BucketUsage,
  type OperationalState,
  readOperationalState,
  readUsage,
} from '../database/queries/metrics.ts'
import { MOST_BUCKETS } from '../telemetry/metrics/bucket-labels.ts'
import { PacedLook } from '../telemetry/metrics/paced-look.ts'

/** However often somebody asks, small tables and the disk are looked at so seldom, and nobody waits longer for it. */
const SMALL_LOOK = { everyMs: 5000, restPerWork: 3, mostMs: 60_000, patienceMs: 1000 }

/** What reads every row: at most a hundredth of the time that one processor has. */
const LARGE_LOOK = { everyMs: 60_000, restPerWork: 100, mostMs: 900_000, patienceMs: 1000 }

/** What is looked at of a server as a whole, for metrics and for its health alike. */
export interface Looks {
  operations: PacedLook<OperationalState>
  usage: PacedLook<BucketUsage[]>
  /** Where the data folder is. */
  disk: PacedLook<StatsFs>
}

export function openLooks({ config, database }: { config: Config; database: Database }): Looks {
  const dataDir = resolve(config.dataDir)
  return {
    operations: new PacedLook(() => readOperationalState(database), SMALL_LOOK),
    usage: new PacedLook(() => readUsage(database, MOST_BUCKETS), LARGE_LOOK),
    disk: new PacedLook(() => statfs(dataDir), SMALL_LOOK),
  }
}

import { expect } from 'vitest'
import { cleanUp } from '../support/cleanup.ts'
import type { TestServer } from '../support/server.ts'
import { driftCount, findDrift, NO_DRIFT } from './drift.ts'
import { Load } from './load.ts'
import { newSeed } from './random.ts'
import { isFull } from './size.ts'
import type { Tally } from './tally.ts'

const CLIENTS = isFull ? 8 : 3
/** Writes that have succeeded before it is taken away, and that do so once it is back. */
const [BEFORE, AFTERWARDS] = isFull ? [10, 30] : [5, 10]

/**
 * Lets clients work in a new bucket while `strike` takes something away and gives it back, and checks all they were
 * told: nothing that was acknowledged is lost, and a cleanup leaves no drift.
 */
export async function underLoad(
  server: TestServer,
  bucket: string,
  tally: Tally,
  strike: (load: Load) => Promise<void>,
): Promise<void> {
  await server.createBucket(bucket)
  const load = new Load(server, bucket, newSeed())
  load.start(CLIENTS)
  try {
    await load.succeeds(BEFORE)
    await strike(load)
    await load.succeeds(AFTERWARDS)
  } finally {
    await load.stop()
  }
  await cleanUp(server)
  const [drift, lost] = [await findDrift(server), await load.lost()]
  tally.rounds++
  tally.acknowledged += load.acknowledged
  tally.lost += lost.length
  tally.leaked += driftCount(drift)
  expect([`${load}`, load.strange, lost, drift]).toEqual([`${load}`, [], [], NO_DRIFT])
}

import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { type Load, SpareTime } from '../../src/jobs/throttle.ts'

/** A process that has used what it is told, on a machine that is as it is told. */
class ToldLoad implements Load {
  used = 0
  isOthers = true

  usedMs() {
    return this.used
  }

  isBusy() {
    return this.isOthers
  }
}

describe('work in spare time', () => {
  let load: ToldLoad
  let spareTime: SpareTime
  beforeEach(() => {
    load = new ToldLoad()
    spareTime = new SpareTime(load)
  })

  /** Works until there is a rest, to its end. @returns whether that took longer than a moment */
  async function rest(): Promise<boolean> {
    let resting = spareTime.rest()
    for (; !resting; resting = spareTime.rest()) await nextTurn()
    const isLong = await Promise.race([resting.then(() => false), nextTurn(true)])
    await resting
    return isLong
  }

  /** What is done without any rest. */
  async function begin() {
    load.isOthers = false
    load.used = 251
    await rest()
    load.isOthers = true
  }

  it('gets a tenth of a processor while others want them all', async () => {
    await begin()
    const begun = performance.now()
    for (let slice = 0; slice < 3; slice++) {
      load.used += 20
      expect(await rest()).toBe(true)
    }
    // All of it may have been held up besides.
    expect(60 / (performance.now() - begun)).toBeLessThan(0.11)
  })

  it('goes on while others leave a processor, and again once they do', async () => {
    load.isOthers = false
    load.used = 251
    expect(await rest()).toBe(false)
    load.used += 20
    load.isOthers = true
    expect(await rest()).toBe(true)
    load.used += 20
    load.isOthers = false
    expect(await rest()).toBe(false)
  })

  it('comes to its end without a rest when it is short', async () => {
    load.used = 249
    expect(await rest()).toBe(false)
  })

  it('rests as a whole', async () => {
    await begin()
    load.used += 20
    let first = spareTime.rest()
    for (; !first; first = spareTime.rest()) await nextTurn()
    expect(spareTime.rest()).toBe(first)
    await first
  })
})

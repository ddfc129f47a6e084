import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { type Load, MachineLoad, SpareTime } from '../../src/jobs/throttle.ts'
import { until } from '../support/wait.ts'

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

describe('the load of the machine', () => {
  it('has the time of a process that works for this one, from when it is told of it, and keeps it when that has ended', async () => {
    const load = new MachineLoad()
    const worker = spawn(process.execPath, ['-e', 'for (;;);'])
    const pid = worker.pid ?? 0
    const ofWorker = () => {
      const { user, system } = process.cpuUsage()
      return load.usedMs() - (user + system) / 1000
    }
    try {
      await until(
        () => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) > 200e6,
        'it works',
      )
      worker.kill('SIGSTOP')
      load.count(pid)
      expect(ofWorker()).toBeLessThan(100)
      worker.kill('SIGCONT')
      await until(() => ofWorker() > 200, 'it has worked on')
    } finally {
      worker.kill('SIGKILL')
      await once(worker, 'exit')
    }
    expect(ofWorker()).toBeGreaterThan(150)
  })
})

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
    load.used = 101
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
    load.used = 101
    expect(await rest()).toBe(false)
    load.used += 20
    load.isOthers = true
    expect(await rest()).toBe(true)
    load.used += 20
    load.isOthers = false
    expect(await rest()).toBe(false)
  })

  it('rests for all of a burst, by turns', async () => {
    await begin()
    const begun = performance.now()
    load.used += 130 // 1300 ms, of which no rest is longer than a second
    await rest()
    load.used += 1
    await rest()
    expect(performance.now() - begun).toBeGreaterThan(1290)
  })

  it('comes to its end without a rest when it is short', async () => {
    load.used = 99
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

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { type Clock, type Load, MachineLoad, SpareTime } from '../../src/jobs/throttle.ts'
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

/** Time that passes when it is told to, or is waited for. */
class ToldClock implements Clock {
  at = 0
  readonly rests: number[] = []

  now() {
    return this.at
  }

  async wait(ms: number) {
    this.rests.push(ms)
    this.at += ms
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
  let clock: ToldClock
  let spareTime: SpareTime
  const begin = (share: number) => {
    load = new ToldLoad()
    clock = new ToldClock()
    spareTime = new SpareTime(share, load, clock)
  }
  beforeEach(() => begin(0.1))

  /** Has a processor for so long, of 20 ms that pass, and may rest then. */
  async function work(usedMs: number): Promise<void> {
    clock.at += 20
    load.used += usedMs
    await spareTime.rest()
  }

  /** What is done without any rest. */
  async function workAtOnce(): Promise<void> {
    load.isOthers = false
    await work(101)
    load.isOthers = true
  }

  it.each([
    [0.1, [180, 180, 180]],
    [0.5, [20, 20, 20]],
  ])('gets a share of %d of a processor while others want them all', async (share, rests) => {
    begin(share)
    await workAtOnce()
    for (let slice = 0; slice < 3; slice++) await work(20)
    expect(clock.rests).toEqual(rests)
  })

  it('never rests with a share of 1', async () => {
    begin(1)
    await work(5000)
    await work(20)
    expect(clock.rests).toEqual([])
  })

  it('goes on while others leave a processor, and again once they do', async () => {
    await workAtOnce()
    expect(clock.rests).toEqual([])
    await work(20)
    expect(clock.rests).toHaveLength(1)
    load.isOthers = false
    await work(20)
    expect(clock.rests).toHaveLength(1)
  })

  it('rests for all of a burst, by turns', async () => {
    await workAtOnce()
    await work(130)
    await work(2)
    await work(2)
    expect(clock.rests).toEqual([1000, 280])
  })

  it('comes to its end without a rest when it is short', async () => {
    await work(99)
    expect(clock.rests).toEqual([])
  })

  it('goes on for a while between two rests', async () => {
    await workAtOnce()
    clock.at += 19
    load.used += 19
    expect(spareTime.rest()).toBeUndefined()
  })

  it('rests as a whole', async () => {
    await workAtOnce()
    clock.at += 20
    load.used += 20
    const first = spareTime.rest()
    expect([first, spareTime.rest()]).toEqual([expect.any(Promise), first])
    await first
    expect(clock.rests).toEqual([180])
  })
})

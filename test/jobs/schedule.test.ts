import pino from 'pino'
import { expect, it } from 'vitest'
import { schedule } from '../../src/jobs/schedule.ts'
import { until } from '../support/wait.ts'

const silent = pino({ level: 'silent' })
const soon = { firstAfterMs: 0, afterFailureMs: 0, logger: silent }

it('runs again and again, never twice at once', async () => {
  let running = 0
  let most = 0
  let runs = 0
  const worker = schedule(
    'test',
    async () => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setImmediate(resolve))
      running--
      runs++
      return 0
    },
    soon,
  )
  await until(() => runs >= 5, 'it has run five times')
  await worker.stop()
  expect([most, running]).toEqual([1, 0])
})

it('goes on after a failure', async () => {
  let runs = 0
  const work = async () => {
    runs++
    if (runs === 1) throw new Error('out of luck')
    return 0
  }
  const worker = schedule('test', work, soon)
  await until(() => runs >= 3, 'it has run again')
  await worker.stop()
})

it('tells the running work to stop, waits for it, and runs no more', async () => {
  let runs = 0
  let hasEnded = false
  const worker = schedule(
    'test',
    async (signal) => {
      runs++
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      hasEnded = true
      return 0
    },
    soon,
  )
  await until(() => runs === 1, 'it runs')
  await worker.stop()
  expect([runs, hasEnded]).toEqual([1, true])
})

it('stops at once while it waits', async () => {
  let runs = 0
  const work = async () => {
    runs++
    return 2 ** 40 // longer than a timer of Node can wait
  }
  const worker = schedule('test', work, soon)
  await until(() => runs === 1, 'it has run')
  await worker.stop()
  expect(runs).toBe(1)
})

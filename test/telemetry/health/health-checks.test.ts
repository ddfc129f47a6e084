import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { StorageError } from '../../../src/model/errors.ts'
import {
  HealthChecks,
  healthCheck,
  MOST_HANGING,
  SHARED_MS,
} from '../../../src/telemetry/health/health-checks.ts'

const LIMIT_MS = 5000
const vital = { whenFailing: 'unhealthy', limitMs: LIMIT_MS } as const

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

describe('the check of a part', () => {
  it('looks once for all who ask at once and within a second of that, and then anew', async () => {
    let looks = 0
    const check = healthCheck(async () => {
      looks++
      return null
    }, vital)
    const asked = Array.from({ length: 1000 }, () => check.get())
    expect(new Set(await Promise.all(asked)).size).toBe(1)
    await vi.advanceTimersByTimeAsync(SHARED_MS - 1)
    await check.get()
    expect(looks).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    await check.get()
    expect(looks).toBe(2)
  })

  it('that hangs is answered at its limit, and looks again, but never at more than so many at once', async () => {
    const hanging: ((_: null) => void)[] = []
    const check = healthCheck(() => new Promise((resolve) => void hanging.push(resolve)), vital)
    const failing = { status: 'unhealthy', latencyMs: LIMIT_MS, message: 'No answer within 5 s' }
    for (let round = 1; round <= MOST_HANGING; round++) {
      const asked = [check.get(), check.get()]
      await vi.advanceTimersByTimeAsync(LIMIT_MS)
      expect(await Promise.all(asked)).toEqual([failing, failing])
      expect(hanging).toHaveLength(round)
      await vi.advanceTimersByTimeAsync(SHARED_MS)
    }
    expect(await check.get()).toEqual({ ...failing, latencyMs: 0 })
    expect(hanging).toHaveLength(MOST_HANGING)
    hanging[0]?.(null)
    await vi.advanceTimersByTimeAsync(SHARED_MS)
    const asked = check.get()
    hanging.at(-1)?.(null)
    expect(await asked).toMatchObject({ status: 'healthy', message: null })
  })

  it('says what is wrong, if that is for others to read', async () => {
    const failing = (error: Error) => healthCheck(() => Promise.reject(error), vital).get()
    expect(await failing(new StorageError('DatabaseUnavailable'))).toMatchObject({
      status: 'unhealthy',
      message: new StorageError('DatabaseUnavailable').message,
    })
    const { message } = await failing(new Error('password=hunter2'))
    expect(message).toBe('The check itself has failed')
  })
})

it('parts that a server can go on without are degraded, and one of them keeps no other from its answer', async () => {
  const checks = new HealthChecks(LIMIT_MS)
  checks.add('disk', async () => null)
  checks.add('nats', () => Promise.reject(new Error('away')))
  checks.add('webhooks', () => new Promise(() => {}))
  const asked = checks.read()
  await vi.advanceTimersByTimeAsync(LIMIT_MS)
  const statuses = Object.entries(await asked).map(([part, { status }]) => [part, status])
  expect(statuses).toEqual([
    ['disk', 'healthy'],
    ['nats', 'degraded'],
    ['webhooks', 'degraded'],
  ])
})

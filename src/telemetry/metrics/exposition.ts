import { setImmediate as othersFirst } from 'node:timers/promises'
import { SingleFlight } from '../../lib/single-flight.ts'
import type { Family } from './catalog.ts'

/** Of Prometheus' text format. */
export const TEXT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** Answers in Prometheus' text format. Who asks while an answer is made gets the same one. */
export type Scrape = () => Promise<string>

/** @param read what each process has to say, the one that speaks for the whole server first */
export function scraping(read: () => Promise<Family[][]>): Scrape {
  const underWay = new SingleFlight<string>()
  return () =>
    underWay.of('', async () => {
      await othersFirst() // who has asked at the same moment is heard
      const [{ AggregatorRegistry }, processes] = await Promise.all([import('prom-client'), read()])
      return AggregatorRegistry.aggregate(processes).metrics()
    })
}

import { type ParsedFamily, parseExposition } from './exposition.ts'
import type { Served } from './server.ts'
import { until } from './wait.ts'

/** What is looked at now and then: the database's tables, its objects, and the disk. */
const LOOKS = 3

/** What Prometheus is told. */
export interface Scraped {
  text: string
  families: Map<string, ParsedFamily>
}

export async function scrape(server: Pick<Served, 'request'>): Promise<Scraped> {
  const text = await (await server.request('GET', '/metrics')).text()
  return { text, families: parseExposition(text) }
}

/** With all that a server says: on a busy machine its first answers do not wait for what it looks at now and then. */
export async function scrapeAll(server: Pick<Served, 'request'>): Promise<Scraped> {
  let scraped: Scraped | undefined
  await until(async () => {
    scraped = await scrape(server)
    return scraped.families.get('storage_look_age_seconds')?.samples.length === LOOKS
  }, 'everything was looked at')
  return scraped as Scraped // until has seen it
}

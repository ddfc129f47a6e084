import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from '../random.ts'
import type { Site } from './site.ts'

export interface Fault {
  /** What is killed, for the test's name. */
  victim: string
  /** Whether the server dies, so that another one is started. Otherwise it must go on by itself. */
  endsServer: boolean
  strike(site: Site, random: Random): Promise<void>
}

/** A start takes about this long, in milliseconds; a start is interrupted somewhere within it. */
const START_MS = 1500

function kill(pids: number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      // One may end by itself because of those before it.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

export const FAULTS: Fault[] = [
  { victim: 'the server', endsServer: true, strike: (site) => site.killServer() },
  {
    victim: 'the server and, while it starts, the next one',
    endsServer: true,
    strike: async (site, random) => {
      await site.killServer()
      site.launch()
      await delay(random.below(START_MS)) // no condition: any moment of the start
      await site.killServer()
    },
  },
  {
    victim: 'the database',
    endsServer: false,
    strike: async (site) => {
      const { main, children } = await site.postgresProcesses()
      kill([main, ...children])
    },
  },
  {
    victim: 'the main process of the database',
    endsServer: false,
    strike: async (site) => {
      const { main } = await site.postgresProcesses()
      kill([main])
    },
  },
  {
    victim: 'one session of the database',
    endsServer: false,
    strike: async (site, random) => {
      const [first = 0, ...others] = (await site.postgresProcesses()).sessions
      kill([random.pick([first, ...others])])
    },
  },
  {
    victim: 'server and database',
    endsServer: true,
    strike: async (site, random) => {
      const { main, children } = await site.postgresProcesses()
      const database = () => kill([main, ...children])
      const server = () => site.killServer()
      await Promise.all(random.below(2) === 0 ? [server(), database()] : [database(), server()])
    },
  },
]

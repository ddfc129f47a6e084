import type { Random } from '../random.ts'
import type { BackupSite } from './site.ts'

/** Who is killed amid a backup. */
export interface Victim {
  name: string
  /** Who is to make the backup. */
  by: 'command' | 'server'
  /** Whether it is the built-in PostgreSQL, or a part of it. */
  ofDatabase?: true
  /** @param job whose backup it is, if a server makes it */
  kill(site: BackupSite, random: Random, job: string): Promise<void>
}

/** Of one server with the built-in PostgreSQL. */
export const VICTIMS: [Victim, ...Victim[]] = [
  {
    name: 'the command that makes it',
    by: 'command',
    kill: async (site) => site.lastCommand.signal('SIGKILL'),
  },
  {
    name: 'the server that was asked for it',
    by: 'server',
    kill: async ({ servers }) => {
      servers.last.signal('SIGKILL')
      await servers.last.ended
      await servers.start()
    },
  },
  {
    name: 'the main process of the database',
    ofDatabase: true,
    by: 'server',
    kill: async (site) => killMain(site),
  },
  {
    name: 'the main process of the database, beside a command',
    ofDatabase: true,
    by: 'command',
    kill: async (site) => killMain(site),
  },
  {
    name: 'a session of the database',
    ofDatabase: true,
    by: 'server',
    kill: async (site, random) => {
      const sessions = await site.sql(
        (sql) => sql<{ pid: number }[]>`
        select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`,
      )
      const [first = 0, ...others] = sessions.map(({ pid }) => pid)
      process.kill(random.pick([first, ...others]), 'SIGKILL') // PostgreSQL then ends all others
    },
  },
]

function killMain(site: BackupSite): void {
  const { postgres } = site.servers.last
  if (postgres === undefined) throw new Error('no database runs')
  process.kill(postgres, 'SIGKILL')
}

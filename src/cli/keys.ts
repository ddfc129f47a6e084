import { resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { readConfig } from '../config/config.ts'
import { parseDuration } from '../lib/units.ts'
import { STANDARD_ROLES } from '../model/caller.ts'
import { findKeys, givenSecrets, mintToken } from '../server/keys.ts'

export function registerKeys(program: Command): void {
  program
    .command('keys')
    .description('print the anon and service keys, and the pair for S3 clients, as JSON; or mint a token')
    .option('--role <role>', 'mint a token of this role: anon, authenticated or service_role')
    .option('--subject <id>', "the token's sub claim: the user's id")
    .option(
      '--expires-in <duration>',
      'until the token expires, such as 15m, 12h or 30d (default: never)',
      seconds,
    )
    .option('--secrets', 'print the secrets that sign tokens and URLs too')
    .action(printKeys)
}

interface KeysOptions {
  /** Mints a token of this role instead of printing the keys. */
  role?: string
  /** Its `sub`: the user's id. */
  subject?: string
  /** Until it expires, in seconds; never, without it. */
  expiresIn?: number
  /** Whether the secrets are printed with the keys. */
  secrets?: boolean
}

/** Prints the keys as JSON, or a token for a role. Makes none: they would be another server's. */
async function printKeys(options: KeysOptions, command: Command): Promise<void> {
  const config = readConfig(process.env)
  checkOptions(options, [...STANDARD_ROLES, ...config.jwt.extraRoles], command)
  const keys = await findKeys(resolve(config.dataDir), givenSecrets(config))
  if (options.role !== undefined) {
    const claims = { role: options.role, subject: options.subject }
    process.stdout.write(`${await mintToken(keys.jwtSecret, claims, options.expiresIn)}\n`)
    return
  }
  const { anonKey, serviceKey, s3 } = keys
  process.stdout.write(`${JSON.stringify(options.secrets ? keys : { anonKey, serviceKey, s3 }, null, 2)}\n`)
}

/** Refuses, and ends the process, rather than print something else than was asked for. */
function checkOptions(options: KeysOptions, roles: string[], command: Command): void {
  const { role, subject, expiresIn, secrets } = options
  if (role === undefined && (subject !== undefined || expiresIn !== undefined)) {
    command.error('error: --subject and --expires-in are for a token: say its role with --role')
  }
  if (role !== undefined && secrets) command.error('error: --secrets and --role do not go together')
  if (role !== undefined && !roles.includes(role)) {
    command.error(
      `error: the server takes no token of role ${role}, but of ${roles.join(', ')}; STORAGE_JWT_ROLES adds to them`,
    )
  }
}

function seconds(text: string): number {
  const ms = parseDuration(text)
  if (ms === null || ms % 1000 !== 0)
    throw new InvalidArgumentError('Use a duration such as 15m, 12h or 30d.')
  return ms / 1000
}

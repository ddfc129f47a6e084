import { join, resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { z } from 'zod'
import { type Config, readConfig } from '../config/config.ts'
import { connectBeside } from '../database/opening/connect.ts'
import { credentialJson } from '../http/rest/credential.ts'
import { parseJson } from '../lib/bounded-json.ts'
import { parseDuration } from '../lib/units.ts'
import { STANDARD_ROLES } from '../model/caller.ts'
import { KeysError, readKeys, signingSecrets } from '../server/keys.ts'
import { createLogger } from '../server/log.ts'
import { credentialFields } from '../storage/credentials/credential-fields.ts'
import { type CredentialState, Credentials } from '../storage/credentials/credentials.ts'
import { SecretSeal } from '../storage/credentials/secret-seal.ts'
import { table } from './sql/table.ts'

export function registerCredentials(program: Command): void {
  const credentials = program
    .command('credentials')
    .description('make, list and revoke access keys of S3 clients')
    .addHelpText(
      'after',
      `
Beside a running server or without one. Each stands for a role, a subject and claims, and policies judge who signs with
it as they judge who has a token that says the same. The pair of \`strongroom keys\` is none of these.`,
    )
  credentials
    .command('create')
    .description('make one, and print it as JSON: its secret is told this once')
    .requiredOption('--role <role>', 'whom it stands for: anon, authenticated or service_role')
    .option('--subject <id>', "the user's id, as a token's sub claim")
    .option('--claims <json>', 'more claims for policies to ask about, such as \'{"tenant":"a"}\'', json)
    .option('--description <text>', 'what it is for')
    .option('--expires-in <duration>', 'until it expires, such as 12h or 30d (default: never)', fromNow)
    .action(create)
  credentials
    .command('list')
    .description('list them, without their secrets')
    .option('--json', 'as JSON, one on a line')
    .action(list)
  credentials
    .command('revoke')
    .description('end one: within a second no server takes it any more')
    .argument('<access-key-id>')
    .action(revoke)
  credentials
    .command('reseal')
    .description(
      'seal their secrets under STORAGE_SIGNING_SECRET, before STORAGE_SIGNING_SECRET_PREVIOUS goes',
    )
    .action(reseal)
}

interface CreateOptions {
  role: string
  subject?: string
  claims?: unknown
  description?: string
  expiresIn?: Date
}

/** The command acts for whoever has the database, and the secret. */
const SERVICE = { role: 'service_role' }

/** How many are asked for at once. */
const PAGE = 1000

async function create(options: CreateOptions, command: Command): Promise<void> {
  const config = readConfig(process.env)
  const checked = checkOptions(options, [...STANDARD_ROLES, ...config.jwt.extraRoles], command)
  await withCredentials(config, async (credentials) => {
    const made = await credentials.create(SERVICE, checked)
    const { access_key_id, ...rest } = credentialJson(made)
    const shown = { access_key_id, secret_access_key: made.secretAccessKey, ...rest }
    process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`)
  })
}

async function list({ json: asJson = false }: { json?: boolean }): Promise<void> {
  await withCredentials(readConfig(process.env), async (credentials) => {
    const all: CredentialState[] = []
    for (let page: CredentialState[]; ; all.push(...page)) {
      page = await credentials.list(SERVICE, { after: all.at(-1)?.accessKeyId ?? '', limit: PAGE })
      if (page.length === 0) break
    }
    process.stdout.write(
      asJson
        ? all.map((state) => `${JSON.stringify(credentialJson(state))}\n`).join('')
        : table(
            COLUMNS.map((name) => ({ name, isNumber: false })),
            all.map(cells),
          ),
    )
  })
}

async function revoke(accessKeyId: string): Promise<void> {
  await withCredentials(readConfig(process.env), async (credentials) => {
    await credentials.revoke(SERVICE, accessKeyId)
    process.stdout.write(`Revoked: within a second no server takes ${accessKeyId} any more.\n`)
  })
}

async function reseal(): Promise<void> {
  await withCredentials(readConfig(process.env), async (credentials) => {
    const { resealed, unreadable } = await credentials.reseal(SERVICE)
    process.stdout.write(`Sealed anew: ${resealed}.\n`)
    for (const accessKeyId of unreadable) {
      process.stdout.write(
        `Opened by no secret that is set here: ${accessKeyId}; revoke it, and make another.\n`,
      )
    }
    if (unreadable.length > 0) process.exitCode = 1
  })
}

/** @throws KeysError, EmbeddedPostgresError, MigrationError */
async function withCredentials(
  config: Config,
  work: (credentials: Credentials) => Promise<void>,
): Promise<void> {
  const dataDir = resolve(config.dataDir)
  const signingSecret = config.signingSecret ?? (await readKeys(join(dataDir, 'keys.json')))?.signingSecret
  if (signingSecret === undefined) {
    throw new KeysError(
      `There are no keys in ${dataDir}: run this where the server was started, or set STORAGE_SIGNING_SECRET, ` +
        'under which secrets are sealed',
    )
  }
  const database = await connectBeside({
    databaseUrl: config.databaseUrl,
    databaseDirectUrl: config.databaseDirectUrl,
    dataDir,
    connections: 2,
    logger: createLogger('error', { stream: process.stderr }),
    onLost: () => {},
  })
  try {
    await work(new Credentials({ database, seal: new SecretSeal(signingSecrets({ signingSecret }, config)) }))
  } finally {
    await database.close()
  }
}

const COLUMNS = ['access key', 'role', 'subject', 'expires', 'last use', 'sealed under', 'description']

function cells(state: CredentialState): string[] {
  return [
    state.accessKeyId,
    state.role,
    state.subject ?? '',
    state.expiresAt?.toISOString() ?? 'never',
    state.lastUsedAt?.toISOString() ?? 'never',
    state.sealedUnder,
    state.description,
  ]
}

/** Refuses, and ends the process, what a request could not say either. */
function checkOptions(options: CreateOptions, roles: string[], command: Command) {
  const { role, subject, claims, description } = credentialFields(roles)
  const schema = z.object({
    role,
    subject: subject.optional(),
    claims: claims.optional(),
    description: description.optional(),
  })
  const parsed = schema.safeParse(options)
  const issue = parsed.error?.issues[0]
  if (!parsed.success) return command.error(`error: --${issue?.path[0]?.toString()} ${issue?.message}`)
  return {
    role: parsed.data.role,
    subject: parsed.data.subject ?? null,
    claims: parsed.data.claims ?? {},
    description: parsed.data.description ?? '',
    expiresAt: options.expiresIn ?? null,
  }
}

function json(text: string): unknown {
  try {
    return parseJson(text)
  } catch {
    throw new InvalidArgumentError('Use a JSON object, such as \'{"tenant":"a"}\'.')
  }
}

function fromNow(text: string): Date {
  const ms = parseDuration(text)
  const date = new Date(Date.now() + (ms ?? 0))
  if (!ms || Number.isNaN(date.getTime()))
    throw new InvalidArgumentError('Use a duration such as 12h or 30d.')
  return date
}

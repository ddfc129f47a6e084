import { join, resolve } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { readConfig } from '../config/config.ts'
import { connectBeside } from '../database/opening/connect.ts'
import type { ShareRow } from '../database/queries/shares.ts'
import { PUBLIC_PREFIX } from '../http/request-target.ts'
import { shareFacts } from '../http/rest/share-json.ts'
import { UUID } from '../lib/uuid.ts'
import type { Caller } from '../model/caller.ts'
import { StorageError } from '../model/errors.ts'
import { KeysError, readKeys, signingSecrets } from '../server/keys.ts'
import { createLogger } from '../server/log.ts'
import { SecretSeal } from '../storage/credentials/secret-seal.ts'
import { IdempotentRequests } from '../storage/idempotent-requests.ts'
import { Shares } from '../storage/shares/shares.ts'
import { table } from './sql/table.ts'

export function registerShare(program: Command): void {
  const share = program
    .command('share')
    .description('share objects by links, list what is shared, and end it')
    .addHelpText(
      'after',
      `
Beside a running server or without one, as the service. docs/shares.md says what a share is. A password comes from the
environment (STRONGROOM_SHARE_PASSWORD), where no list of processes shows it.`,
    )
  share
    .command('create')
    .description('share an object, and print the share as JSON: its token is told this once')
    .argument('<bucket/path>', 'of the object; or its id')
    .option('--download', 'it may be downloaded')
    .option('--delete', 'it may be deleted')
    .option('--password', 'for the password in STRONGROOM_SHARE_PASSWORD, instead of a token')
    .option('--hours <n>', 'until it expires: 1 to 720', upTo(720), 24)
    .option(
      '--max-downloads <n>',
      'how often it may be downloaded (default: any number)',
      upTo(1_000_000_000),
    )
    .option('--with <user>', 'the id of a user, who needs no secret where he is signed in')
    .action(create)
  share
    .command('list')
    .description('list them, newest first, without their secrets')
    .option('--active', 'only those that are not over')
    .option('--json', 'as JSON, one on a line')
    .action(list)
  share
    .command('revoke')
    .description('end one, or all of a user, and the URLs that were issued')
    .argument('[share-id]')
    .option('--by <user>', 'all that this user has made')
    .action(revoke)
}

interface CreateOptions {
  download?: true
  delete?: true
  password?: true
  hours: number
  maxDownloads?: number
  with?: string
}

/** The command acts for whoever has the database. */
const SERVICE: Caller = {
  role: 'service_role',
  subject: null,
  claims: { role: 'service_role' },
  token: '',
  operation: 'command.share',
  method: '',
  path: '',
  headers: {},
  userBuckets: false,
}

/** How many are asked for at once. */
const PAGE = 1000

async function create(place: string, options: CreateOptions, command: Command): Promise<void> {
  const password = options.password ? passwordOf(command) : null
  const slash = place.indexOf('/')
  const target = UUID.test(place)
    ? { id: place }
    : { bucket: place.slice(0, Math.max(slash, 0)), path: place.slice(slash + 1) }
  await withShares(async (shares, address) => {
    const request = {
      target,
      sharedWith: options.with ?? null,
      sharedWithEmail: null,
      permissions: { view: true, download: options.download === true, delete: options.delete === true },
      password,
      hours: options.hours,
      maxDownloads: options.maxDownloads ?? null,
    }
    const made = await shares.create(SERVICE, request, { key: undefined, who: '', isService: true })
    const { share_id, ...facts } = shareFacts(made.share)
    const shown = { share_id, share_url: `${address}/share/${share_id}`, access_token: made.token, ...facts }
    process.stdout.write(`${JSON.stringify(shown, null, 2)}\n`)
  })
}

async function list({ active, json = false }: { active?: true; json?: boolean }): Promise<void> {
  await withShares(async (shares) => {
    const all: ShareRow[] = []
    for (let cursor: string | undefined; ; ) {
      const page = { objectId: undefined, active, isWithMe: false, cursor, limit: PAGE }
      const found = await shares.list(SERVICE, page)
      all.push(...found.shares)
      if (found.next === null) break
      cursor = found.next
    }
    process.stdout.write(
      json
        ? all.map((share) => `${JSON.stringify(shareFacts(share))}\n`).join('')
        : table(
            COLUMNS.map((name) => ({ name, isNumber: name === 'downloads' })),
            all.map(cells),
          ),
    )
  })
}

async function revoke(id: string | undefined, { by }: { by?: string }, command: Command): Promise<void> {
  if ((id === undefined) === (by === undefined)) command.error('error: name a share, or a user with --by')
  await withShares(async (shares) => {
    if (id !== undefined) {
      await shares.revoke(SERVICE, id)
      process.stdout.write(`Revoked: ${id}, and the URLs that it has issued.\n`)
    }
    if (by !== undefined)
      process.stdout.write(`Revoked: ${await shares.revokeAllOf(SERVICE, by)} of ${by}.\n`)
  })
}

/** @throws KeysError, EmbeddedPostgresError, MigrationError */
async function withShares(work: (shares: Shares, address: string) => Promise<void>): Promise<void> {
  const config = readConfig(process.env)
  const dataDir = resolve(config.dataDir)
  const signingSecret = config.signingSecret ?? (await readKeys(join(dataDir, 'keys.json')))?.signingSecret
  if (signingSecret === undefined) {
    throw new KeysError(`There are no keys in ${dataDir}: run this where the server was started`)
  }
  const logger = createLogger('error', { stream: process.stderr })
  const database = await connectBeside({
    databaseUrl: config.databaseUrl,
    databaseDirectUrl: config.databaseDirectUrl,
    dataDir,
    connections: 2,
    logger,
    onLost: () => {},
  })
  const secrets = signingSecrets({ signingSecret }, config)
  // The service shares what there is: nothing else is looked for.
  const files = { find: () => Promise.reject(new StorageError('NoSuchKey')) }
  const idempotency = new IdempotentRequests({ database, logger, seal: new SecretSeal(secrets) })
  const address = `${config.publicUrl ?? `http://localhost:${config.port}`}${PUBLIC_PREFIX}`
  try {
    await work(new Shares({ database, files, idempotency }), address)
  } finally {
    await database.close()
  }
}

const COLUMNS = ['share', 'object', 'by', 'downloads', 'expires', 'active']

function cells(share: ShareRow): string[] {
  const { bucket, path, shared_by, download_count, max_downloads, expires_at, is_active } = shareFacts(share)
  return [
    share.share_id,
    bucket === null ? share.object_id : `${bucket}/${path}`,
    shared_by ?? 'the service',
    max_downloads === null ? String(download_count) : `${download_count} of ${max_downloads}`,
    expires_at.toISOString(),
    is_active ? 'yes' : 'no',
  ]
}

function passwordOf(command: Command): string {
  const { STRONGROOM_SHARE_PASSWORD: password = '' } = process.env
  if (password === '' || password.length > 255) {
    return command.error('error: STRONGROOM_SHARE_PASSWORD must have 1 to 255 characters')
  }
  return password
}

function upTo(most: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^\d{1,10}$/.test(text) && number >= 1 && number <= most) return number
    throw new InvalidArgumentError(`Use a whole number from 1 to ${most}.`)
  }
}

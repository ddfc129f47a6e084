import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { type S3Keys, signRequest } from '../support/s3-signer.ts'
import { S3_OPERATIONS, type S3Ask } from './access/s3-operations.ts'
import { readTable } from './access/table.ts'
import { CALLERS, type Caller, type Cell, World } from './access/world.ts'

/*
 * Whatever a caller may by REST it may by S3, and nothing else: the table of access.test.ts once more, where it says what S3
 * can ask for. A caller signs with a session's token, or with an access key that has its role and subject.
 */

const TABLE = readTable(new URL('access/default.txt', import.meta.url))

let server: S3TestServer
let world: World
beforeAll(async () => {
  server = await startS3Server()
  world = await World.make(server)
})
afterAll(() => server.close())

/** What each caller signs with; null where it does not sign. */
type Signatures = Record<Caller, S3Keys | null>

function sessions(): Signatures {
  const { tokens } = world
  const signed = CALLERS.map((caller) => {
    const sessionToken = tokens[caller]
    const keys = { accessKeyId: 'strongroom', secretAccessKey: server.keys.anonKey }
    return [caller, sessionToken === null ? null : { ...keys, sessionToken }]
  })
  return Object.fromEntries(signed)
}

async function accessKeys(): Promise<Signatures> {
  const { stranger, author, owner } = world.subjects
  const service = await newKey('service_role')
  return {
    none: null,
    forged: { ...service, secretAccessKey: 'a secret of the attacker' },
    anon: await newKey('anon'),
    stranger: await newKey('authenticated', stranger),
    author: await newKey('authenticated', author),
    owner: await newKey('authenticated', owner),
    service,
  }
}

async function newKey(role: string, subject?: string): Promise<S3Keys> {
  const body = { role, ...(subject !== undefined && { subject }) }
  const response = await server.request('POST', '/storage/v1/credential', { body })
  if (!response.ok) throw new Error(`access key: ${response.status} ${await response.text()}`)
  const made = (await response.json()) as { access_key_id: string; secret_access_key: string }
  return { accessKeyId: made.access_key_id, secretAccessKey: made.secret_access_key }
}

function signedBy(keys: S3Keys | null): S3Ask {
  return (method, target, { headers = {}, body } = {}) => {
    const sent = body !== undefined && { body }
    const request = { method, url: `${server.endpoint}${target}`, headers, ...sent }
    return fetch(request.url, { method, headers: keys ? signRequest(request, keys) : headers, ...sent })
  }
}

/** What the caller is told, in the table's words. */
async function outcomeOf(name: string, cell: Cell, ask: S3Ask): Promise<string> {
  const operation = S3_OPERATIONS[name] ?? expect.fail(`There is no ${name}`)
  const made = (await operation.before?.(cell)) ?? ''
  const before = await cell.facts()
  const response = await cell.watch(() => operation.ask(cell, ask, made))
  if (!response.ok) return String(response.status)
  const text = await response.text()
  const hasChanged = (await cell.facts()) !== before
  const showsNothing = operation.shows !== undefined && !text.includes(operation.shows(cell))
  const doesNothing = name.startsWith('DeleteObject') && !hasChanged
  return showsNothing || doesNothing ? 'empty' : 'allowed'
}

/**
 * What S3 answers where the table has this.
 *
 * @param refused the status where a caller is not who it says it is
 */
function expected(name: string, outcome: string, refused: string): string {
  const other = S3_OPERATIONS[name]?.answers?.[outcome]
  if (other !== undefined) return other
  if (outcome === '401') return refused
  return /^2\d\d$/.test(outcome) ? 'allowed' : outcome
}

describe.each<[name: string, make: () => Signatures | Promise<Signatures>, forged: string]>([
  ['by a session', sessions, '400'], // InvalidToken, as with Amazon
  ['by an access key', accessKeys, '403'],
])('who may do what by S3, %s', (_name, make, forged) => {
  let signatures: Signatures
  beforeAll(async () => {
    signatures = await make()
  })

  const rows = TABLE.flatMap((row) =>
    Object.entries(S3_OPERATIONS)
      .filter(([, { like }]) => like === row.operation)
      .map(([name]) => ({ ...row, name })),
  )

  it.each(rows)('$policy: $name, as $operation', async ({ policy, name, outcomes }) => {
    const cells = await world.cells(policy)
    const answers = await Promise.all(
      cells.map((cell) => outcomeOf(name, cell, signedBy(signatures[cell.caller]))),
    )
    const refused = (caller: Caller | undefined) => (caller === 'forged' ? forged : '403')
    expect(answers).toEqual(outcomes.map((outcome, at) => expected(name, outcome, refused(CALLERS[at]))))
  })
})

import type { ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { Hono } from 'hono'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Session } from '../../../src/database/connection/session.ts'
import { takeTurn } from '../../../src/database/connection/turns.ts'
import type { Env } from '../../../src/http/env.ts'
import { openApiDocument, operationsOf } from '../../../src/http/openapi/document.ts'
import { errorsOf, type ToldError } from '../../../src/http/openapi/error-json.ts'
import type { Operation } from '../../../src/http/openapi/operation.ts'
import { pathTemplate } from '../../../src/http/openapi/operation-json.ts'
import type { Surface } from '../../../src/http/surface.ts'
import type { ErrorCode, StorageError } from '../../../src/model/errors.ts'
import { openPostgresProxy, type PostgresProxy } from '../../support/postgres-proxy.ts'
import { until } from '../../support/wait.ts'
import { type Documented, startDocumented } from './app.ts'
import { BAD, GOOD, OWN, type Sent } from './cases.ts'
import { World } from './world.ts'

interface Content {
  schema: object
}
interface Response_ {
  headers?: Record<string, { $ref: string } | { required: boolean }>
  content?: Record<string, Content>
}
interface Document {
  paths: Record<string, Record<string, { responses: Record<string, Response_> }>>
  components: { headers: Record<string, { required: boolean }> }
}
/** What is answered by one method at one path. */
interface Told {
  verb: string
  path: string
  operation: Operation
  errors: ToldError[]
  responses: Record<string, Response_>
}

/** Of whom these are said: by a server that has no room, no database, or a limit. */
const ELSEWHERE = new Set<ErrorCode>([
  'ServerBusy',
  'DatabaseUnavailable',
  'SlowDown',
  'FeatureNotEnabled',
  'TooManyOfOneCaller',
  'TooManyUnfinished',
])

/** Of these, what any operation may name. */
const EVERYWHERE = new Set<ErrorCode>(['ServerBusy', 'DatabaseUnavailable', 'SlowDown'])

const SETTINGS_WEBHOOK = JSON.stringify([
  {
    url: 'https://example.com/of-settings',
    secret: `whsec_${Buffer.alloc(32).toString('base64')}`,
    bucket: 'nobody',
  },
])

/** Of an upload that is not there. */
const STRANGERS: Sent = { params: { id: 'x' }, headers: { 'x-http-method-override': 'PATCH' } }

const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true })

/** A server, its document, and how to hold one against the other. */
class Tried {
  readonly told: Told[]
  readonly world: World
  readonly #document: Document
  /** By what they are for in the document. */
  readonly #validators = new Map<string, ValidateFunction>()

  constructor(readonly documented: Documented) {
    const { routes, services, server } = documented
    this.world = new World(server)
    this.#document = JSON.parse(JSON.stringify(openApiDocument(routes, services))) as Document
    ajv.removeSchema('document')
    ajv.addSchema(this.#document, 'document')
    this.told = operationsOf(routes, services).map(({ verb, path, operation }) => {
      const { responses } = this.#document.paths[pathTemplate(path)]?.[verb] ?? { responses: {} }
      return { verb, path, operation, responses, errors: errorsOf(operation, services) }
    })
  }

  async send({ verb, path, operation }: Told, sent: Sent): Promise<Response> {
    const { server } = this.documented
    const { access } = operation
    const isOpen = access === 'anybody' || access === 'signed' || access === 'uploadToken'
    const {
      params = {},
      raw = {},
      query,
      headers = {},
      body,
      token = isOpen || query?.token !== undefined ? null : server.keys.serviceKey,
    } = sent
    const filled = pathTemplate(path).replace(
      /\{(\w+)\}/g,
      (_, name) => raw[name] ?? encodeURIComponent(params[name] ?? ''),
    )
    const search = query === undefined ? '' : `?${new URLSearchParams(query)}`
    const isJson = operation.body !== undefined && 'json' in operation.body
    return fetch(`${server.url}/storage/v1${filled}${search}`, {
      method: verb.toUpperCase(),
      redirect: operation.answers[302] ? 'manual' : 'follow',
      headers: {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(isJson && body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
  }

  /** Holds an answer against what the document says of its status. */
  async expectTold({ verb, path, responses }: Told, response: Response): Promise<unknown> {
    const { status, headers } = response
    const response_ = responses[String(status)]
    if (!response_) throw new Error(`${status} is not documented: ${await response.text()}`)
    const described = response_.headers ?? {}
    for (const [name, header] of Object.entries(described)) {
      const { required } = '$ref' in header ? (this.#document.components.headers[name] ?? {}) : header
      if (required) expect([name, headers.has(name)]).toEqual([name, true])
    }
    const names = Object.keys(this.#document.components.headers)
    expect(names.filter((name) => headers.has(name) && !(name in described))).toEqual([])
    expect(headers.get('x-request-id')).toMatch(/./)
    const type = headers.get('content-type')?.split(';')[0] ?? ''
    if (type === 'text/event-stream') {
      await response.body?.cancel()
      return undefined
    }
    const text = await response.text()
    const { content } = response_
    if (!content) {
      expect(text).toBe('')
      return undefined
    }
    const known = content[type] ? type : '*/*'
    expect(Object.keys(content)).toContain(known)
    if (type !== 'application/json' || known === '*/*') return text
    const pointer = [
      'paths',
      pathTemplate(path),
      verb,
      'responses',
      String(status),
      'content',
      type,
      'schema',
    ]
      .map((step) => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/')
    const validate = this.#validators.get(pointer) ?? ajv.compile({ $ref: `document#/${pointer}` })
    this.#validators.set(pointer, validate)
    const value = JSON.parse(text)
    validate(value)
    expect(validate.errors ?? [], text).toEqual([])
    return value
  }

  /** That an answer is this error, said as the document says it. */
  async expectError(told: Told, { code, answer }: ToldError, response: Response): Promise<void> {
    const value = await this.expectTold(told, response)
    expect(response.status, JSON.stringify(value)).toBe(answer.status)
    if (told.verb === 'head') return
    if (answer.headers['Content-Type'] !== 'application/json') return void expect(value).toMatch(/./)
    const { message, ...expected } = JSON.parse(answer.body)
    expect(value, code).toMatchObject({ ...expected, message: expect.any(String) })
  }

  close(): Promise<void> {
    return this.documented.server.close()
  }
}

function goodOf({ operation }: Told, status?: string) {
  const make = GOOD[`${operation.id} ${status}`] ?? GOOD[operation.id]
  if (!make) throw new Error(`test/http/openapi/cases.ts says nothing of ${operation.id}`)
  return make
}

describe.each(['', 'supabase'])('with STORAGE_COMPAT=%j', (compat) => {
  const env: Record<string, string> = compat === '' ? {} : { STORAGE_COMPAT: compat }

  describe('what the document says', () => {
    let tried: Tried
    let turn: Session
    beforeAll(async () => {
      const documented = await startDocumented({
        ...env,
        STORAGE_CACHE_SIZE: '0',
        STORAGE_WEBHOOKS: SETTINGS_WEBHOOK,
      })
      await World.of(documented.server)
      tried = new Tried(documented)
      // Nobody makes the backups that are asked for.
      turn = await documented.server.database.openSession()
      expect(await takeTurn(turn.sql, 'backup')).toBe(true)
    })
    afterAll(async () => {
      await turn.close()
      await tried.close()
    })

    it('is answered, in each of the ways', async () => {
      const wrong: string[] = []
      for (const told of tried.told) {
        for (const status of Object.keys(told.operation.answers)) {
          if (status === '503') continue // told of by a server without a database
          await collect(`${told.operation.id} ${status}`, wrong, async () => {
            const sent = await goodOf(told, status)(tried.world)
            const response = await tried.send(told, sent)
            await tried.expectTold(told, response)
            expect(String(response.status)).toBe(status)
          })
        }
      }
      expect(wrong).toEqual([])
    })

    it('can go wrong, in each of the ways', async () => {
      const wrong: string[] = []
      for (const told of tried.told) {
        for (const error of told.errors.filter(({ code }) => !ELSEWHERE.has(code))) {
          await collect(`${told.operation.id} ${error.code}`, wrong, async () => {
            const spoil = OWN[told.operation.id]?.[error.code] ?? BAD[error.code]
            if (!spoil) throw new Error('test/http/openapi/cases.ts does not say how')
            const good = await goodOf(told)(tried.world)
            await tried.expectError(told, error, await tried.send(told, await spoil(good, tried.world)))
          })
        }
      }
      expect(wrong).toEqual([])
    })
  })

  describe('a server without a database', () => {
    let proxy: PostgresProxy
    let tried: Tried
    beforeAll(async () => {
      proxy = await openPostgresProxy()
      const documented = await startDocumented(
        { ...env, STORAGE_CACHE_SIZE: '0' },
        { databaseUrl: (name) => proxy.url(name) },
      )
      await World.of(documented.server)
      tried = new Tried(documented)
    })
    afterAll(async () => {
      proxy.mode = 'pass'
      await tried.close()
      await proxy.close()
    })

    it('says so, whatever it is asked that needs one', async () => {
      const sent = new Map<Told, Sent>()
      for (const told of tried.told) sent.set(told, await goodOf(told)(tried.world))
      proxy.mode = 'refuse'
      proxy.cutAll()
      const wrong: string[] = []
      for (const [told, request] of sent) {
        await collect(told.operation.id, wrong, async () => {
          const response = await tried.send(told, request)
          const error = told.errors.find(({ code }) => code === 'DatabaseUnavailable')
          if (error) return tried.expectError(told, error, response)
          await tried.expectTold(told, response)
          const isHealth = told.operation.answers[503] !== undefined
          expect(response.status).toBe(isHealth ? 503 : 200)
        })
      }
      expect(wrong).toEqual([])
    })
  })

  describe('a server without room', () => {
    let tried: Tried
    let letGo: () => void
    beforeAll(async () => {
      const held = new Promise<void>((resolve) => {
        letGo = resolve
      })
      const documented = await startDocumented(
        { ...env, STORAGE_MAX_REQUESTS: '1' },
        { others: [holding(held)] },
      )
      await World.of(documented.server)
      tried = new Tried(documented)
    })
    afterAll(() => tried.close())

    it('says so, whatever it is asked but whether it is well', async () => {
      const { server } = tried.documented
      const sent = new Map<Told, Sent>()
      for (const told of tried.told) sent.set(told, await goodOf(told)(tried.world))
      const held = server.request('GET', '/held')
      await until(async () => (await server.request('GET', '/nowhere')).status === 503, 'the server is full')
      const wrong: string[] = []
      for (const [told, request] of sent) {
        await collect(told.operation.id, wrong, async () => {
          const response = await tried.send(told, request)
          const error = told.errors.find(({ code }) => code === 'ServerBusy')
          if (error) return tried.expectError(told, error, response)
          await tried.expectTold(told, response)
          expect(response.status).toBe(200)
        })
      }
      letGo()
      await held
      expect(wrong).toEqual([])
    })
  })

  describe('a server with limits of one client', () => {
    let tried: Tried
    beforeAll(async () => {
      const documented = await startDocumented({
        ...env,
        STORAGE_RATE_LIMIT_READ: '1/3600',
        STORAGE_RATE_LIMIT_WRITE: '1/3600',
        STORAGE_RATE_LIMIT_SIGN: '1/3600',
        STORAGE_RATE_LIMIT_ADMIN: '1/3600',
      })
      await World.of(documented.server)
      tried = new Tried(documented)
    })
    afterAll(() => tried.close())

    it('says when there may be more', async () => {
      const wrong: string[] = []
      let counted = 0
      for (const told of tried.told) {
        const error = told.errors.find(({ code }) => code === 'SlowDown')
        if (!error) continue
        counted++
        await collect(told.operation.id, wrong, async () => {
          const needsToken = !['anybody', 'signed', 'uploadToken'].includes(told.operation.access)
          // It is counted before anything is looked at.
          const sent = told.operation.access === 'uploadToken' ? STRANGERS : await goodOf(told)(tried.world)
          const request = needsToken ? { ...sent, token: await tried.world.user(told.operation.id) } : sent
          await (await tried.send(told, request)).body?.cancel()
          const response = await tried.send(told, request)
          await tried.expectError(told, error, response)
          expect(response.headers.get('ratelimit')).toMatch(/r=0/)
          expect(response.headers.get('retry-after')).toMatch(/^\d+$/)
        })
      }
      expect(wrong).toEqual([])
      expect(counted).toBeGreaterThan(50)
    })
  })

  describe('a server that is set so', () => {
    let tried: Tried
    beforeAll(async () => {
      const documented = await startDocumented({
        ...env,
        STORAGE_BACKUP_ENABLED: 'false',
        STORAGE_MAX_UNFINISHED_UPLOADS: '1',
        STORAGE_MAX_LISTENERS: '2',
        STORAGE_MAX_LISTENER_SHARE: '0.5',
      })
      await World.of(documented.server)
      await documented.server.admin.unsafe(
        'create policy writing on storage.objects for insert to authenticated with check (true)',
      )
      tried = new Tried(documented)
    })
    afterAll(() => tried.close())

    const toldOf = (id: string) => {
      const told = tried.told.find(({ operation }) => operation.id === id)
      if (!told) throw new Error(`there is no operation ${id}`)
      return told
    }
    const errorOf = (told: Told, code: ErrorCode) => {
      const error = told.errors.find((one) => one.code === code)
      if (!error) throw new Error(`${told.operation.id} does not name ${code}`)
      return error
    }

    it.each(['createBackup', 'restoreBackup'])('refuses %s', async (id) => {
      const told = toldOf(id)
      const response = await tried.send(told, await goodOf(told)(tried.world))
      await tried.expectError(told, errorOf(told, 'FeatureNotEnabled'), response)
    })

    it('refuses a version where none are kept', async () => {
      const told = toldOf('addVersion')
      const response = await tried.send(told, {
        ...(await goodOf(told)(tried.world)),
        params: { bucket: 'box', key: 'a' },
      })
      await tried.expectError(told, errorOf(told, 'FeatureNotEnabled'), response)
    })

    it('refuses to bring a bucket back that keeps nothing', async () => {
      const told = toldOf('restoreVersion')
      const body = { bucket: 'box', prefix: '', at: '2026-11-20T10:00Z' }
      await tried.expectError(told, errorOf(told, 'FeatureNotEnabled'), await tried.send(told, { body }))
    })

    it('refuses who has too many unfinished uploads', async () => {
      const told = toldOf('createUpload')
      const token = await tried.world.user('hoarder')
      await tried.world.upload({ token })
      const response = await tried.send(told, { ...(await goodOf(told)(tried.world)), token })
      await tried.expectError(told, errorOf(told, 'TooManyUnfinished'), response)
    })

    it('refuses who listens too often', async () => {
      const told = toldOf('readEvents')
      const token = await tried.world.user('listener')
      const first = await tried.send(told, { token })
      const response = await tried.send(told, { token })
      await tried.expectError(told, errorOf(told, 'TooManyOfOneCaller'), response)
      await first.body?.cancel()
    })

    it('has brought about all that is not brought about by a request', () => {
      const elsewhere = tried.told.flatMap(({ operation, errors }) =>
        errors
          .filter(({ code }) => ELSEWHERE.has(code) && !EVERYWHERE.has(code))
          .map(({ code }) => `${operation.id} ${code}`),
      )
      expect(elsewhere.sort()).toEqual([
        'addVersion FeatureNotEnabled',
        'createBackup FeatureNotEnabled',
        'createUpload TooManyUnfinished',
        'readEvents TooManyOfOneCaller',
        'restoreBackup FeatureNotEnabled',
        'restoreVersion FeatureNotEnabled',
      ])
    })
  })
})

/** A protocol whose one request takes as long as the test likes. */
function holding(until: Promise<void>): Surface {
  return {
    name: 'held',
    prefix: '/held',
    routes: new Hono<Env>().get('/held', async (c) => {
      await until
      return c.text('at last')
    }),
    authenticate: async () => null,
    error: ({ status }: StorageError) => ({ status, headers: {}, body: '' }),
  }
}

/** Goes on though it fails, so that all that is wrong is told at once. */
async function collect(what: string, wrong: string[], work: () => Promise<void>): Promise<void> {
  await work().catch((error: Error) => wrong.push(`${what}: ${error.message.slice(0, 300)}`))
}

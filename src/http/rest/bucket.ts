import { Hono } from 'hono'
import { z } from 'zod'
import type { BucketRow, BucketStats } from '../../database/queries/buckets.ts'
import { BUCKET_POLICIES } from '../../database/schema.ts'
import { bucketValidators } from '../../storage/buckets/bucket-rules.ts'
import type { BucketRequest } from '../../storage/buckets/bucket-storage.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { checkConditions, refuseCondition, writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader } from '../message/json-body.ts'
import { fields, flag, ignored, optional, textList } from '../message/json-fields.ts'
import { decodeSegment, queryOf } from '../message/request-path.ts'
import type { Services } from '../services.ts'
import { checkOffset } from './offset.ts'
import { successList, successResponse } from './responses.ts'

/** A limit in bytes, or a size such as `"5MB"`; null or 0 is the global limit. */
const sizeLimit = z.union(
  [z.number(), z.string(), z.null()],
  'must be a number of bytes or a size such as "5MB"',
)

const settings = {
  policy: optional(z.enum(BUCKET_POLICIES, `must be one of ${BUCKET_POLICIES.join(', ')}`)),
  public: flag().nullish(),
  file_size_limit: sizeLimit.optional(),
  max_file_size: sizeLimit.optional(),
  allowed_mime_types: textList(z.array(z.string(), 'must be an array of MIME types')).nullish(),
}

const SETTINGS = Object.keys(settings) as (keyof typeof settings)[]

/** What answers tell of a bucket besides: some clients send it back whole, the C# SDK with nulls. */
const told = {
  owner: ignored,
  created_at: ignored,
  updated_at: ignored,
  file_count: ignored,
  total_size: ignored,
}

const createSchema = fields({
  ...settings,
  ...told,
  name: z.string('must be a string'),
  id: optional(z.string('must be a string')),
  type: optional(z.enum(['STANDARD', 'ANALYTICS'])),
  versioning_status: optional(z.enum(['DISABLED', 'ENABLED'])),
})

/** Wire §2.3: at least one setting; `id` and `name` come along and mean nothing, since nothing is renamed. */
const updateSchema = fields({ ...settings, ...told, id: ignored, name: ignored, type: ignored }).refine(
  (body) => SETTINGS.some((name) => body[name] !== undefined),
  'must name at least one of public, policy, file_size_limit, max_file_size, allowed_mime_types',
)

const wholeNumber = (min: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .refine((n) => n >= min, `must be at least ${min}`)

const listSchema = z.object({
  limit: wholeNumber(1).optional(),
  offset: wholeNumber(0).default(0),
  sortColumn: z.enum(['id', 'name', 'created_at', 'updated_at']).optional(),
  sortOrder: z.enum(['asc', 'desc']).default('asc'),
  search: z.string().max(1000, 'is too long').optional(),
  stats: z.enum(['true', 'false']).optional(),
})

const getSchema = listSchema.pick({ stats: true })

/** What Supabase says, whose clients are told before the work is done (wire §2.3). Here it is done by then. */
const EMPTY_QUEUED = 'Empty bucket has been queued. Completion may take up to an hour.'

/** A path that is no object's means the same with a slash at its end: some clients join theirs so. */
function withSlash(path: string): string[] {
  return [path, `${path}/`]
}

export function bucketRoutes(services: Services) {
  const { buckets, supabaseCompat } = services
  const readJson = jsonReader(services)

  /** How much is in each of these buckets, when it is asked for: every row of theirs is read. */
  async function statsOf(
    asker: string,
    rows: BucketRow[],
    { stats }: { stats?: string | undefined },
  ): Promise<((id: string) => BucketStats) | undefined> {
    if (stats !== 'true' || supabaseCompat) return undefined
    return buckets.stats(
      asker,
      rows.map((row) => row.id),
    )
  }

  async function update(c: AppContext) {
    const caller = await requireCaller(c, services, 'storage.bucket.update')
    const body = await readJson(c.env.incoming, updateSchema)
    await buckets.update(caller, bucketId(c), asRequest(body), writeCondition(c.env.incoming.headers))
    return c.json({ message: 'Successfully updated' })
  }

  return new Hono<Env>()
    .on('POST', withSlash('/bucket'), async (c) => {
      const caller = await requireCaller(c, services, 'storage.bucket.create')
      const body = await readJson(c.env.incoming, createSchema)
      const { name, id = name, type = 'STANDARD', versioning_status: versioningStatus = 'DISABLED' } = body
      logTarget(c, id)
      const request = { ...asRequest(body), id, name, type, versioningStatus }
      await buckets.create(caller, request, writeCondition(c.env.incoming.headers))
      return successResponse(c, services, { name }, { status: 201 })
    })
    .on('GET', withSlash('/bucket'), async (c) => {
      const caller = await requireCaller(c, services, 'storage.bucket.list')
      const query = checkShape('querystring', sentQuery(c), listSchema)
      checkOffset(services, query.offset)
      const asker = askerOf(c, services, caller)
      const rows = await buckets.list(caller, asker, {
        limit: query.limit,
        offset: query.offset,
        column: query.sortColumn,
        order: query.sortOrder,
        search: query.search,
      })
      const stats = await statsOf(asker, rows, query)
      const showsType = !isOldPythonClient(c.req.header('user-agent'), c.req.header('x-client-info'))
      const items = rows.map((row) => ({
        body: { ...bucketJson(row), ...(showsType && { type: row.type }) },
        fields: ownFields(row, stats?.(row.id)),
      }))
      return successList(c, services, items)
    })
    .on('GET', withSlash('/bucket/:id'), async (c) => {
      const caller = await requireCaller(c, services, 'storage.bucket.get')
      const query = supabaseCompat ? {} : checkShape('querystring', sentQuery(c), getSchema)
      const row = await buckets.get(caller, bucketId(c))
      const stats = await statsOf(askerOf(c, services, caller), [row], query)
      // The tag is of the settings: statistics change without it.
      if (!stats) {
        const current = bucketValidators(row)
        c.header('ETag', current.etag)
        const ifNoneMatch = c.req.header('if-none-match')
        if (checkConditions({ ifNoneMatch }, current) === 'not-modified') return c.body(null, 304)
      }
      return successResponse(c, services, bucketJson(row), { fields: ownFields(row, stats?.(row.id)) })
    })
    .on(['PUT', 'PATCH'], withSlash('/bucket/:id'), update)
    .on('POST', withSlash('/bucket/:id/empty'), async (c) => {
      const caller = await requireCaller(c, services, 'storage.bucket.empty')
      refuseCondition(c.env.incoming.headers)
      await buckets.empty(caller, bucketId(c))
      return c.json({ message: supabaseCompat ? EMPTY_QUEUED : 'Successfully emptied' })
    })
    .on('DELETE', withSlash('/bucket/:id'), async (c) => {
      const caller = await requireCaller(c, services, 'storage.bucket.delete')
      await buckets.delete(caller, bucketId(c), writeCondition(c.env.incoming.headers))
      return c.json({ message: 'Successfully deleted' })
    })
}

function sentQuery(c: AppContext): Record<string, string> {
  return Object.fromEntries(queryOf(c.env))
}

function bucketId(c: AppContext): string {
  const id = decodeSegment(c.req.path.split('/')[2] ?? '')
  logTarget(c, id)
  return id
}

function asRequest(body: Pick<z.infer<typeof createSchema>, keyof typeof settings>): BucketRequest {
  return {
    policy: body.policy,
    public: body.public === null ? false : body.public,
    fileSizeLimit: body.max_file_size !== undefined ? body.max_file_size : body.file_size_limit,
    allowedMimeTypes: body.allowed_mime_types,
  }
}

/** Wire §2.1. */
function bucketJson(row: BucketRow) {
  return {
    id: row.id,
    name: row.name,
    owner: row.owner ?? '', // never null: storage-js types it as a string
    public: row.public ?? false,
    file_size_limit: row.fileSizeLimit,
    allowed_mime_types: row.allowedMimeTypes,
    created_at: row.createdAt,
    updated_at: row.updatedAt,
  }
}

/** Wire §2.1. */
function ownFields(row: BucketRow, stats: BucketStats | undefined) {
  return {
    policy: row.policy,
    max_file_size: row.fileSizeLimit,
    ...(stats && { file_count: stats.fileCount, total_size: stats.totalSize }),
  }
}

/** These crash on fields that they do not know (wire §2.4). */
function isOldPythonClient(userAgent = '', clientInfo = ''): boolean {
  return (
    isOlder(/^supabase-py\/storage3 v?(\d+)\.(\d+)\.(\d+)/.exec(userAgent), [0, 12, 1]) ||
    isOlder(/^supabase-py\/v?(\d+)\.(\d+)\.(\d+)/.exec(clientInfo), [2, 18, 0])
  )
}

function isOlder(match: RegExpExecArray | null, than: number[]): boolean {
  if (!match) return false
  const version = match.slice(1).map(Number)
  const at = version.findIndex((part, index) => part !== than[index])
  return at >= 0 && (version[at] ?? 0) < (than[at] ?? 0)
}

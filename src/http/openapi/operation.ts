import type { Handler } from 'hono'
import type { z } from 'zod'
import type { ErrorCode } from '../../model/errors.ts'
import type { Env } from '../env.ts'
import type { ErrorAnswer } from '../surface.ts'
import type { AccessName } from './access.ts'
import type { AnswerHeader, RequestHeader } from './headers.ts'

/** What an operation is, for whoever calls it: the OpenAPI document tells it, and its tests try whether it is so. */
export interface Operation {
  /** The `operationId`: what generated clients call it. */
  id: string
  tag: Tag
  /** By which it is answered, where that is not the route's. */
  method?: 'HEAD'
  /** One line. */
  summary: string
  /** Markdown. */
  description?: string
  access: AccessName
  /** What has to be there for it, if not the database: a place among the requests at once, or not even that. */
  needs?: 'place' | 'nothing'
  /** What parts of the path mean, by their names; `bucket` and `key` are known. */
  path?: Record<string, string>
  /** What validates the query, or what describes it where nothing is refused. */
  query?: z.ZodObject
  headers?: RequestHeader[]
  body?: Body
  /** By HTTP status. */
  answers: Record<number, Answer>
  /** Headers of all of its answers, errors too. */
  always?: AnswerHeader[]
  /** Those that are its own: those of its access, its body and its query are known. */
  errors?: ErrorCode[]
  /** How errors are said, where that is not as REST says them. */
  say?: (code: ErrorCode) => ErrorAnswer
  /** The same by HEAD, where that tells more than that there would be an answer. */
  head?: Pick<Operation, 'id' | 'summary' | 'description' | 'answers' | 'headers' | 'errors'>
}

/** Groups of operations, and what they are about. */
export const TAGS = {
  Buckets: 'Where objects are, and who may see them.',
  Objects: 'Upload, download, move, copy, delete.',
  Trash: 'What was deleted, and can come back.',
  Lists: 'What is in a bucket.',
  'Signed URLs': 'One action on one object, for whoever has the address, until a time.',
  Shares: 'An object for whoever has the link and its secret.',
  'Resumable uploads': 'TUS 1.0.0. Errors are plain text, but those of a login.',
  Events: 'What happens to objects and buckets.',
  Webhooks: 'Who is told of events by HTTP.',
  'Access keys': 'For S3 clients.',
  Lifecycle: 'What goes by itself, and when.',
  Backups: 'Backups and restores.',
  Audit: 'Who has done what.',
  Server: 'Health, version, and this documentation.',
} as const
export type Tag = keyof typeof TAGS

/** JSON, which a schema validates; or bytes by these types. */
export type Body = ({ json: z.ZodType } | { bytes: Record<string, z.ZodType> }) & { isOptional?: boolean }

export interface Answer {
  description: string
  json?: z.ZodType
  /** By media type, where it is no JSON. */
  content?: Record<string, z.ZodType>
  headers?: AnswerHeader[]
  /** What only some of such answers carry. */
  mayCarry?: AnswerHeader[]
}

/** What descriptions may depend on. */
export interface Described {
  supabaseCompat: boolean
  /** Those that a token may name. */
  roles: string[]
  /** Whether large objects are sent from the store (STORAGE_S3_REDIRECT). */
  redirects: boolean
  /** Present where clients have limits (STORAGE_RATE_LIMIT_…). */
  rates: object | undefined
}

/** Whether clients have a rate for it, where they have limits: not for what needs no database, unless it says so. */
export function hasRate({ needs, errors }: Operation, { rates }: Described): boolean {
  return rates !== undefined && (needs === undefined || errors?.includes('SlowDown') === true)
}

/** Made when somebody wants to know: neither a start nor a request costs more for it. */
export type Describe = (server: Described) => Operation

const described = new WeakMap<object, Describe>()

/** Says of a route's handler what it does. It is the same handler, so that a request does not run through more. */
export function operation(describe: Describe, handler: Handler<Env>): Handler<Env> {
  described.set(handler, describe)
  return handler
}

export function descriptionOf(handler: object): Describe | undefined {
  return described.get(handler)
}

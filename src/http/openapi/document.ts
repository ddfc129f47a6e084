import { z } from 'zod'
import { ERROR_TABLE } from '../../model/error-table.ts'
import { ERROR_CODES, type ErrorCode, StorageError } from '../../model/errors.ts'
import { jsonError } from '../message/json-error.ts'
import { PUBLIC_PREFIX } from '../request-target.ts'
import type { ErrorAnswer } from '../surface.ts'
import { ACCESS, SECURITY_SCHEMES } from './access.ts'
import {
  ANSWER_HEADERS,
  NEEDED_HEADERS,
  OPTIONAL_HEADERS,
  REQUEST_HEADERS,
  type RequestHeader,
} from './headers.ts'
import { type Answer, type Body, type Described, descriptionOf, type Operation, TAGS } from './operation.ts'

type Json = Record<string, unknown>

/** A route as Hono keeps it. */
export interface Route {
  method: string
  path: string
  handler: object
}

export interface DocumentOptions extends Described {
  version: string
  /** Without a trailing slash and without /storage/v1. */
  publicUrl: string | undefined
}

const ABOUT = `A storage server that speaks Supabase Storage's protocol.

Every answer carries \`X-Request-Id\`. An error is JSON with four texts: \`statusCode\`, \`error\` (a label, of old),
\`message\` (for people) and \`code\` (for programs). Each operation names those of its own. \`default\` is what the server may
say of any request, and of its own state.

Where a rate is set, \`RateLimit\` and \`RateLimit-Policy\` tell what is left of it.

A GET is also answered as a HEAD. \`OPTIONS\` of any path is 204, with what browsers want to know.

The S3 protocol, below \`/s3\` and on a port of its own, is XML, and Amazon documents it; what of it is here is in the
server's \`docs/s3.md\`. Realtime is a WebSocket at \`/realtime/v1/websocket\`, for which this format has no words:
\`docs/events.md\`.`

const JSON_TYPE = 'application/json'

/** The OpenAPI 3.1 document of all routes that say what they do. */
export function openApiDocument(routes: Route[], options: DocumentOptions): Json {
  const schemas: Json = { Error: schemaJson(ERROR) }
  const paths: Record<string, Json> = {}
  for (const { path, verb, operation } of operationsOf(routes, options)) {
    const template = pathTemplate(path)
    const at = paths[template] ?? {}
    paths[template] = at
    at[verb] = operationJson(operation, { path, verb, options, schemas })
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Strongroom',
      version: options.version,
      description: ABOUT,
      license: { name: 'Apache 2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: `${options.publicUrl ?? ''}${PUBLIC_PREFIX}` }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas,
      responses: {
        Error: {
          description: 'Any other error.',
          content: { [JSON_TYPE]: { schema: ref('schemas', 'Error') } },
        },
      },
      examples: mapped(ERROR_CODES, (code) => ({ value: JSON.parse(sayInJson(code, options).body) })),
      parameters: mapped(Object.keys(REQUEST_HEADERS) as RequestHeader[], headerParameter),
      headers: mapped(Object.keys(ANSWER_HEADERS) as (keyof typeof ANSWER_HEADERS)[], (name) => ({
        description: ANSWER_HEADERS[name],
        required: !OPTIONAL_HEADERS.has(name),
        schema: { type: 'string' },
      })),
      securitySchemes: SECURITY_SCHEMES,
    },
  }
}

/** What is answered by which method. @returns with an id of its own for each */
export function operationsOf(
  routes: Route[],
  server: Described,
): { path: string; verb: string; operation: Operation }[] {
  const told = new Set<object>()
  return routes.flatMap(({ method, path, handler }) => {
    const describe = descriptionOf(handler)
    if (!describe || isWithSlash(routes, { method, path, handler })) return []
    const { head, ...operation } = describe(server)
    const verb = (operation.method ?? method).toLowerCase()
    // Two methods may do the same.
    const id = told.has(handler) ? `${operation.id}By${capital(verb)}` : operation.id
    told.add(handler)
    const own = { path, verb, operation: { ...operation, id } }
    return head ? [own, { path, verb: 'head', operation: { ...operation, ...head } }] : [own]
  })
}

/** Whether it is another's, with a slash at its end. */
export function isWithSlash(routes: Route[], { method, path, handler }: Route): boolean {
  return (
    path.length > 1 &&
    path.endsWith('/') &&
    routes.some((other) => other.handler === handler && other.method === method && `${other.path}/` === path)
  )
}

/** `/object/:bucket/:key{.*}` as `/object/{bucket}/{key}`. */
export function pathTemplate(path: string): string {
  return path.replace(PATH_PARAMETER, '{$1}')
}

const PATH_PARAMETER = /:(\w+)(?:\{((?:[^{}]|\{[^{}]*\})*)\})?/g

const KNOWN_PARTS: Record<string, string> = {
  bucket: 'The id of a bucket.',
  key: "The object's name. It may hold slashes, as they are or as `%2F`.",
}

interface Place {
  path: string
  verb: string
  options: DocumentOptions
  /** Those with a name, of the whole document. */
  schemas: Json
}

function operationJson(operation: Operation, place: Place): Json {
  const { id, tag, summary, description, access, query, headers = [], body } = operation
  const { path, schemas } = place
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    security: ACCESS[access].security,
    parameters: [
      ...[...path.matchAll(PATH_PARAMETER)].map(([, name = '', pattern]) => ({
        name,
        in: 'path',
        required: true,
        description: operation.path?.[name] ?? KNOWN_PARTS[name],
        schema: {
          type: 'string',
          ...(pattern !== undefined && pattern !== '.*' && { pattern: `^${pattern}$` }),
        },
      })),
      ...(query ? queryParameters(query) : []),
      ...headers.map((name) => ref('parameters', name)),
    ],
    ...(body && { requestBody: bodyJson(body, schemas) }),
    responses: responsesJson(operation, place),
  }
}

function headerParameter(name: RequestHeader): Json {
  return {
    name,
    in: 'header',
    required: NEEDED_HEADERS.has(name),
    description: REQUEST_HEADERS[name],
    schema: { type: 'string' },
  }
}

/** A parameter is there or not; null is what its absence is to us. */
function queryParameters(query: z.ZodObject): Json[] {
  const { properties = {}, required = [] } = schemaJson(query) as {
    properties?: Record<string, Json>
    required?: string[]
  }
  return Object.entries(properties).map(([name, { description, ...property }]) => {
    const { anyOf, ...rest } = property as { anyOf?: Json[] }
    const [only] = anyOf?.filter(({ type }) => type !== 'null') ?? []
    const schema = { ...rest, ...only } as Json
    if (schema.default === null) delete schema.default
    return {
      name,
      in: 'query',
      required: required.includes(name),
      ...(description !== undefined && { description }),
      schema,
    }
  })
}

function bodyJson(body: Body, schemas: Json): Json {
  if ('json' in body) {
    return {
      required: !body.isOptional,
      content: { [JSON_TYPE]: { schema: schemaJson(body.json, schemas) } },
    }
  }
  return { required: true, content: contentJson(body.bytes, schemas) }
}

function contentJson(content: Record<string, z.ZodType>, schemas: Json): Json {
  return Object.fromEntries(
    Object.entries(content).map(([type, schema]) => [type, { schema: schemaJson(schema, schemas) }]),
  )
}

function responsesJson(operation: Operation, { verb, options, schemas }: Place): Json {
  const isHead = verb === 'head'
  const answers = Object.entries(operation.answers).map(([status, answer]) => [
    status,
    answerJson(answer, schemas, isHead),
  ])
  return {
    ...errorsJson(operation, isHead, options),
    ...Object.fromEntries(answers),
    default: ref('responses', 'Error'),
  }
}

function answerJson(
  { description, json, content, headers = [] }: Answer,
  schemas: Json,
  isHead: boolean,
): Json {
  const told = { ...content, ...(json && { [JSON_TYPE]: json }) }
  return {
    description,
    ...(headers.length > 0 && { headers: mapped(headers, (name) => ref('headers', name)) }),
    ...(!isHead && Object.keys(told).length > 0 && { content: contentJson(told, schemas) }),
  }
}

/** An error that an operation may answer with, and how it is said there. */
export interface ToldError {
  code: ErrorCode
  answer: ErrorAnswer
}

/** All that an operation names, in the order of the table. */
export function errorsOf(operation: Operation, server: Described): ToldError[] {
  const { access, body, needs, errors = [], say } = operation
  const codes = new Set<ErrorCode>([
    ...ACCESS[access].errors,
    ...(body && 'json' in body ? (['InvalidRequest', 'BodyTooLarge'] as const) : []),
    ...(needs === undefined ? (['DatabaseUnavailable'] as const) : []),
    ...(server.rates && needs === undefined ? (['SlowDown'] as const) : []),
    ...(needs === 'nothing' ? [] : (['ServerBusy'] as const)),
    ...errors,
  ])
  return ERROR_CODES.filter((code) => codes.has(code)).map((code) => ({
    code,
    answer: say ? say(code) : sayInJson(code, server),
  }))
}

function errorsJson(operation: Operation, isHead: boolean, options: DocumentOptions): Json {
  const errors = errorsOf(operation, options)
  const statuses = [...new Set(errors.map(({ answer }) => answer.status))]
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      errorJson(
        errors.filter(({ answer }) => answer.status === status),
        isHead,
      ),
    ]),
  )
}

function errorJson(errors: ToldError[], isHead: boolean): Json {
  const inJson = errors.filter(({ answer }) => answer.headers['Content-Type'] === JSON_TYPE)
  const inText = errors.filter((error) => !inJson.includes(error))
  const everyHeader = (Object.keys(ANSWER_HEADERS) as (keyof typeof ANSWER_HEADERS)[]).filter((name) =>
    errors.every(({ answer }) => name in answer.headers),
  )
  return {
    description: errors.map(({ code }) => `\`${code}\`: ${ERROR_TABLE[code].message}.`).join('\n\n'),
    ...(everyHeader.length > 0 && { headers: mapped(everyHeader, (name) => ref('headers', name)) }),
    ...(!isHead && {
      content: {
        ...(inJson.length > 0 && {
          [JSON_TYPE]: {
            schema: ref('schemas', 'Error'),
            examples: mapped(
              inJson.map(({ code }) => code),
              (code) => ref('examples', code),
            ),
          },
        }),
        ...(inText.length > 0 && {
          'text/plain': {
            schema: { type: 'string' },
            examples: Object.fromEntries(inText.map(({ code, answer }) => [code, { value: answer.body }])),
          },
        }),
      },
    }),
  }
}

function sayInJson(code: ErrorCode, { supabaseCompat }: Described): ErrorAnswer {
  return jsonError(new StorageError(code), undefined, supabaseCompat)
}

const ERROR = z
  .strictObject({
    statusCode: z
      .string()
      .regex(/^\d{3}$/)
      .describe('The true status.'),
    error: z.string().describe('A label, of old.'),
    message: z.string().describe('For people.'),
    code: z.string().describe('For programs.'),
  })
  .describe('What every error is, but those of resumable uploads.')

/**
 * A schema as JSON Schema has it, of what may come in.
 *
 * @param named gets those that have a name, which are referred to then
 */
function schemaJson(schema: z.ZodType, named: Json = {}): Json {
  const { $schema, $defs, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  const inPlace = JSON.parse(
    JSON.stringify({ json, $defs }).replaceAll('"#/$defs/', '"#/components/schemas/'),
  ) as {
    json: Json
    $defs?: Json
  }
  Object.assign(named, inPlace.$defs)
  return inPlace.json
}

function ref(kind: string, name: string): Json {
  return { $ref: `#/components/${kind}/${name}` }
}

function mapped<Name extends string>(names: Name[], make: (name: Name) => unknown): Json {
  return Object.fromEntries(names.map((name) => [name, make(name)]))
}

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
}

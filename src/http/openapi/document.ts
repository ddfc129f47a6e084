import { ERROR_CODES } from '../../model/errors.ts'
import { PUBLIC_PREFIX } from '../request-target.ts'
import { SECURITY_SCHEMES } from './access.ts'
import { ERROR, sayInJson } from './error-json.ts'
import {
  ANSWER_HEADER_NAMES,
  headerJson,
  OPTIONAL_HEADERS,
  REQUEST_HEADERS,
  type RequestHeader,
} from './headers.ts'
import { type Described, descriptionOf, type Operation, TAGS } from './operation.ts'
import { headerParameter, operationJson, pathTemplate } from './operation-json.ts'
import { JSON_TYPE, type Json, mapped, ref, schemaJson } from './schema-json.ts'

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
      headers: mapped(ANSWER_HEADER_NAMES, (name) => headerJson(name, !OPTIONAL_HEADERS.has(name))),
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

function capital(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
}

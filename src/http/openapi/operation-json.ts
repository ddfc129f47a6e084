import type { z } from 'zod'
import { ACCESS } from './access.ts'
import { errorsJson } from './error-json.ts'
import {
  type AnswerHeader,
  headerJson,
  NEEDED_HEADERS,
  RATE_HEADERS,
  REQUEST_HEADERS,
  type RequestHeader,
} from './headers.ts'
import { type Answer, type Body, type Described, hasRate, type Operation } from './operation.ts'
import { JSON_TYPE, type Json, mapped, ref, schemaJson } from './schema-json.ts'

/** `/object/:bucket/:key{.*}` as `/object/{bucket}/{key}`. */
export function pathTemplate(path: string): string {
  return path.replace(PATH_PARAMETER, '{$1}')
}

const PATH_PARAMETER = /:(\w+)(?:\{((?:[^{}]|\{[^{}]*\})*)\})?/g

const KNOWN_PARTS: Record<string, string> = {
  bucket: 'The id of a bucket.',
  key: "The object's name. It may hold slashes, as they are or as `%2F`.",
}

export interface Place {
  path: string
  verb: string
  options: Described
  /** Those with a name, of the whole document. */
  schemas: Json
}

/** An operation, with all that it takes and answers. */
export function operationJson(operation: Operation, place: Place): Json {
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

export function headerParameter(name: RequestHeader): Json {
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
  return { required: !body.isOptional, content: contentJson(body.bytes, schemas) }
}

function contentJson(content: Record<string, z.ZodType>, schemas: Json): Json {
  return Object.fromEntries(
    Object.entries(content).map(([type, schema]) => [type, { schema: schemaJson(schema, schemas) }]),
  )
}

function responsesJson(operation: Operation, { verb, options, schemas }: Place): Json {
  const isHead = verb === 'head'
  const always = [...(operation.always ?? []), ...(hasRate(operation, options) ? RATE_HEADERS : [])]
  const answers = Object.entries(operation.answers).map(([status, answer]) => [
    status,
    answerJson(answer, schemas, isHead, always),
  ])
  return {
    ...errorsJson(operation, isHead, options),
    ...Object.fromEntries(answers),
    default: ref('responses', 'Error'),
  }
}

function answerJson(
  { description, json, content, headers: own = [], mayCarry = [] }: Answer,
  schemas: Json,
  isHead: boolean,
  always: AnswerHeader[],
): Json {
  const headers = {
    ...mapped([...always, ...own], (name) => ref('headers', name)),
    ...mapped(mayCarry, (name) => headerJson(name, false)),
  }
  const told = { ...content, ...(json && { [JSON_TYPE]: json }) }
  return {
    description,
    ...(Object.keys(headers).length > 0 && { headers }),
    ...(!isHead && Object.keys(told).length > 0 && { content: contentJson(told, schemas) }),
  }
}

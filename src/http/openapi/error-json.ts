import { z } from 'zod'
import { ERROR_TABLE } from '../../model/error-table.ts'
import { ERROR_CODES, type ErrorCode, StorageError } from '../../model/errors.ts'
import { jsonError } from '../message/json-error.ts'
import type { ErrorAnswer } from '../surface.ts'
import { ACCESS } from './access.ts'
import { ANSWER_HEADER_NAMES, type AnswerHeader, headerJson, RATE_HEADERS } from './headers.ts'
import { type Described, hasRate, type Operation } from './operation.ts'
import { JSON_TYPE, type Json, mapped, ref } from './schema-json.ts'

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
    ...(hasRate(operation, server) ? (['SlowDown'] as const) : []),
    ...(needs === 'nothing' ? [] : (['ServerBusy'] as const)),
    ...errors,
  ])
  return ERROR_CODES.filter((code) => codes.has(code)).map((code) => ({
    code,
    answer: say ? say(code) : sayInJson(code, server),
  }))
}

/** The errors that an operation names, by their statuses. */
export function errorsJson(operation: Operation, isHead: boolean, options: Described): Json {
  const errors = errorsOf(operation, options)
  const statuses = [...new Set(errors.map(({ answer }) => answer.status))]
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      errorJson(
        errors.filter(({ answer }) => answer.status === status),
        isHead,
        [...(operation.always ?? []), ...(hasRate(operation, options) ? RATE_HEADERS : [])],
      ),
    ]),
  )
}

function errorJson(errors: ToldError[], isHead: boolean, always: AnswerHeader[]): Json {
  const inJson = errors.filter(({ answer }) => answer.headers['Content-Type'] === JSON_TYPE)
  const inText = errors.filter((error) => !inJson.includes(error))
  const headers = headersJson(errors, always)
  return {
    description: errors.map(({ code }) => `\`${code}\`: ${ERROR_TABLE[code].message}.`).join('\n\n'),
    ...(Object.keys(headers).length > 0 && { headers }),
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

/** Headers of which the request alone tells what they say. */
const OF_THE_REQUEST: Partial<Record<ErrorCode, AnswerHeader[]>> = {
  InvalidRange: ['Content-Range'],
  SlowDown: ['Retry-After'],
}

/** What all errors of a status carry, and what only some of them do. */
function headersJson(errors: ToldError[], always: AnswerHeader[]): Json {
  const carried = errors.map(({ code, answer }) => {
    const own = OF_THE_REQUEST[code] ?? []
    return new Set(ANSWER_HEADER_NAMES.filter((name) => name in answer.headers || own.includes(name)))
  })
  const names = ANSWER_HEADER_NAMES.filter(
    (name) => always.includes(name) || carried.some((headers) => headers.has(name)),
  )
  return mapped(names, (name) =>
    always.includes(name) || carried.every((headers) => headers.has(name))
      ? ref('headers', name)
      : headerJson(name, false),
  )
}

/** An error as REST says it. */
export function sayInJson(code: ErrorCode, { supabaseCompat }: Described): ErrorAnswer {
  return jsonError(new StorageError(code), undefined, supabaseCompat)
}

/** What every error is, but those of resumable uploads. */
export const ERROR = z
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

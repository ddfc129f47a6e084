import { z } from 'zod'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { time } from '../../openapi/shapes.ts'

const state = z.enum(['ok', 'failing'])
const health = z
  .strictObject({ healthy: z.boolean(), database: state, backend: state })
  .meta({ id: 'Health' })

const stopping = z.strictObject({ healthy: z.literal(false), stopping: z.literal(true) })

/** Answered however busy the server is. */
const vital = (operation: Pick<Operation, 'id' | 'summary' | 'answers'>): Operation => ({
  tag: 'Server',
  access: 'anybody',
  needs: 'nothing',
  ...operation,
})

const healthAnswers: Operation['answers'] = {
  200: { description: 'Both answer.', json: health },
  503: { description: 'One does not.', json: health, headers: ['Retry-After'] },
}

export const getHome: Describe = () => ({
  id: 'getHome',
  tag: 'Server',
  summary: 'Says that the server runs',
  access: 'anybody',
  needs: 'place',
  headers: ['accept'],
  answers: {
    200: {
      description: 'A page, or JSON.',
      json: z.strictObject({
        name: z.string(),
        version: z.string(),
        links: z.record(z.string(), z.string()),
      }),
      content: { 'text/html': z.string() },
      headers: ['Cache-Control'],
    },
  },
})

export const getStatus: Describe = () =>
  vital({
    id: 'getStatus',
    summary: 'Whether the process answers',
    answers: { 200: { description: 'It does.' } },
  })

export const getVersion: Describe = () =>
  vital({
    id: 'getVersion',
    summary: 'The version',
    answers: { 200: { description: 'Such as 1.2.3.', content: { 'text/plain': z.string() } } },
  })

export const getHealth: Describe = ({ supabaseCompat, rates }) => {
  const operation = vital({
    id: 'getHealth',
    summary: 'Whether the database and the store answer',
    answers: supabaseCompat
      ? { 200: { description: 'Whether they do.', json: z.strictObject({ healthy: z.boolean() }) } }
      : healthAnswers,
  })
  if (!supabaseCompat) return operation
  return { ...operation, access: 'tokenOfV2', errors: rates ? ['SlowDown'] : [] }
}

const status = z.enum(['healthy', 'degraded', 'unhealthy'])

const detailedHealth = z
  .strictObject({
    status: status.describe('`degraded`: only what the server can go on without is not well.'),
    database_connected: z.boolean(),
    storage_connected: z.boolean(),
    timestamp: time,
    service: z.string().optional(),
    version: z.string().optional(),
    uptime_seconds: z.int().optional().describe('Of the process that answers.'),
    checks: z
      .record(z.string(), z.strictObject({ status, latency_ms: z.int(), message: z.string().nullable() }))
      .optional()
      .describe('`database`, `storage`, and what is in use of `nats`, `webhooks`, `disk`, `cleanup`.'),
  })
  .meta({ id: 'DetailedHealth', description: 'From `service` on for the service key alone.' })

export const getDetailedHealth: Describe = ({ rates }) => ({
  ...vital({
    id: 'getDetailedHealth',
    summary: 'How the parts of the server are; all of it for the service key',
    answers: {
      200: { description: 'Database and store answer.', json: detailedHealth, headers: ['Cache-Control'] },
      503: {
        description: 'One of them does not.',
        json: detailedHealth,
        headers: ['Cache-Control', 'Retry-After'],
      },
    },
  }),
  access: 'optional',
  errors: rates ? ['SlowDown'] : [],
})

export const getLiveness: Describe = () =>
  vital({
    id: 'getLiveness',
    summary: 'Whether the process answers',
    answers: { 200: { description: 'It does.', json: z.strictObject({ alive: z.literal(true) }) } },
  })

export const getReadiness: Describe = () =>
  vital({
    id: 'getReadiness',
    summary:
      'Whether requests are welcome: the database and the store answer, and the server is not stopping',
    answers: {
      ...healthAnswers,
      503: {
        description: 'One does not, or it is stopping.',
        json: z.union([health, stopping]),
        mayCarry: ['Retry-After'],
      },
    },
  })

const page = (operation: Pick<Operation, 'id' | 'summary' | 'answers'>): Operation => ({
  tag: 'Server',
  access: 'anybody',
  needs: 'place',
  ...operation,
})

export const getDocumentation: Describe = () =>
  page({
    id: 'getDocumentation',
    summary: 'This document, to be read in a browser',
    answers: {
      200: { description: 'A page.', content: { 'text/html': z.string() }, headers: ['Cache-Control'] },
    },
  })

export const getDocument: Describe = () => ({
  ...page({
    id: 'getDocument',
    summary: 'This document',
    answers: {
      200: {
        description: 'OpenAPI 3.1.',
        json: z.looseObject({ openapi: z.string(), info: z.looseObject({}), paths: z.looseObject({}) }),
        headers: ['ETag', 'Cache-Control'],
      },
      304: { description: 'It is as the client knows it.', headers: ['ETag', 'Cache-Control'] },
    },
  }),
  headers: ['if-none-match'],
})

export const getViewer: Describe = () => ({
  ...page({
    id: 'getDocumentationViewer',
    summary: 'What shows this document in a browser',
    answers: {
      200: {
        description: 'JavaScript.',
        content: { 'text/javascript': z.string() },
        headers: ['ETag', 'Cache-Control'],
      },
      304: { description: 'It is as the client knows it.', headers: ['ETag', 'Cache-Control'] },
    },
  }),
  headers: ['if-none-match'],
})

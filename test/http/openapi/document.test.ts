import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openApiDocument, operationsOf } from '../../../src/http/openapi/document.ts'
import { pathTemplate } from '../../../src/http/openapi/operation-json.ts'
import { type Documented, SURFACES, startDocumented, undescribed } from './app.ts'

interface Document {
  openapi: string
  servers: { url: string }[]
  paths: Record<string, Record<string, { operationId: string }>>
}

describe.each(['', 'supabase'])('with STORAGE_COMPAT=%j the OpenAPI document', (compat) => {
  let documented: Documented
  let document: Document
  beforeAll(async () => {
    documented = await startDocumented(compat === '' ? {} : { STORAGE_COMPAT: compat })
    const response = await documented.server.request('GET', '/storage/v1/documentation/json', { token: null })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json'])
    document = (await response.json()) as Document
  })
  afterAll(() => documented.server.close())

  it('is OpenAPI 3.1', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone({ ...document }))
    expect(errors ?? []).toEqual([])
    expect(valid).toBe(true)
    expect(document.openapi).toMatch(/^3\.1\./)
  })

  it('tells of every route: one that says nothing of itself needs `operation(…)` around its handler', () => {
    expect(undescribed(documented.routes)).toEqual([])
  })

  it('tells of nothing else', () => {
    const { routes, services } = documented
    const told = Object.entries(document.paths).flatMap(([path, verbs]) =>
      Object.keys(verbs).map((verb) => `${verb} ${path}`),
    )
    const there = operationsOf(routes, services).map(({ verb, path }) => `${verb} ${pathTemplate(path)}`)
    expect(told.sort()).toEqual(there.sort())
    expect(document).toEqual(JSON.parse(JSON.stringify(openApiDocument(routes, services))))
  })

  it('calls each operation by a name of its own', () => {
    const ids = Object.values(document.paths).flatMap((verbs) =>
      Object.values(verbs).map(({ operationId }) => operationId),
    )
    expect(ids).toEqual([...new Set(ids)])
    for (const id of ids) expect(id).toMatch(/^[a-z][A-Za-z]+$/)
  })

  it('refers to nothing that is not in it', () => {
    const text = JSON.stringify(document)
    const refs = new Set([...text.matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path]) => String(path)))
    expect(refs.size).toBeGreaterThan(10)
    const missing = [...refs].filter(
      (path) =>
        path.split('/').reduce<unknown>((at, step) => (at as Record<string, unknown>)?.[step], document) ===
        undefined,
    )
    expect(missing).toEqual([])
    expect(text).not.toContain('#/$defs/')
  })
})

it('knows all protocols: another is in the document, or says here that it is not', () => {
  const source = readFileSync(new URL('../../../src/server/request-server.ts', import.meta.url), 'utf8')
  const made = [...source.matchAll(/\b(\w+Surface)\(/g)].map(([, name]) => String(name))
  expect([...new Set(made)].sort()).toEqual([...SURFACES].sort())
})

it('a route that says nothing of itself is found', () => {
  const handler = () => undefined
  const route = { method: 'GET', path: '/new', handler }
  expect(undescribed([route])).toEqual(['GET /new'])
})

import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import type { S3RequestInit, S3TestServer } from './s3-protocol.ts'
import type { RequestOptions } from './server.ts'
import { until } from './wait.ts'

/** A row of the audit log. */
export interface Entry {
  action: string
  resource_type: string
  request_id: string
  [column: string]: unknown
}

/** Sends requests, each with an id, by which it finds what the log of a server with STORAGE_AUDIT=all says of them. */
export class AuditTrail {
  readonly #checks: { id: string; check: (entries: Entry[]) => void }[] = []

  constructor(private readonly server: S3TestServer) {}

  /** Sends a request. Returns its id. */
  async done(method: string, path: string, init: RequestOptions = {}): Promise<string> {
    const id = randomUUID()
    const headers = { ...init.headers, 'x-request-id': id }
    await (await this.server.request(method, path, { ...init, headers })).arrayBuffer()
    return id
  }

  /** Sends one of the S3 protocol. Returns its id, and what was answered. */
  async s3(method: string, target: string, init: S3RequestInit = {}): Promise<{ id: string; text: string }> {
    const id = randomUUID()
    const headers = { ...init.headers, 'x-request-id': id }
    const response = await this.server.send(method, target, { ...init, headers })
    return { id, text: await response.text() }
  }

  /** The entries of one request, once the log has those of a later one. */
  async entriesOf(id: string): Promise<Entry[]> {
    const last = await this.done('GET', '/bucket')
    await until(async () => (await this.#rowsOf(last)).length > 0, 'the log is written')
    return this.#rowsOf(id)
  }

  /** What is expected of a request's entries, once the test is over: the log is then waited for once. */
  expect(id: string) {
    return {
      toMatchObject: (expected: object[]) =>
        this.#checks.push({ id, check: (entries) => expect(entries).toMatchObject(expected) }),
      toEqual: (expected: object[]) =>
        this.#checks.push({ id, check: (entries) => expect(entries).toEqual(expected) }),
    }
  }

  /** After each test. */
  async check(): Promise<void> {
    const due = this.#checks.splice(0)
    if (due.length > 0) await this.entriesOf(due.at(-1)?.id ?? '')
    for (const { id, check } of due) check(await this.#rowsOf(id))
  }

  #rowsOf(id: string): Promise<Entry[]> {
    return this.server.admin<Entry[]>`
      select *, host(address) as address, bytes::int as bytes from storage.audit_log where request_id = ${id} order by path, resource_id`
  }
}

/** An object's entry that was not refused. */
export const object = (fields: object) => ({ resource_type: 'object', allowed: true, ...fields })

import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect } from 'vitest'
import type { CheckResult } from '../../src/model/check-result.ts'
import type { Ended } from './command.ts'

/** What `strongroom check` has said of each thing, as [state, sentence]. */
export function told({ stdout }: Ended): Record<string, [state: string, says: string]> {
  const lines = stdout.split('\n').map((line) => /^(\w+) +(.+?) {2,}(.+)$/.exec(line) ?? [])
  return Object.fromEntries(lines.flatMap(([, state, about, says]) => (says ? [[about, [state, says]]] : [])))
}

/** It has found one thing wrong, said so in a line, and ended with 1. */
export function expectFailure(ended: Ended, about: string, says: RegExp): void {
  const failed = Object.entries(told(ended)).filter(([, [state]]) => state === 'failed')
  expect(failed).toEqual([[about, ['failed', expect.stringMatching(says)]]])
  expect(ended.stdout).toMatch(/\n\n1 of \d+ failed/)
  expect(ended.code).toBe(1)
}

/** What a part of the command finds, asked without its process, which takes half a second to start. */
export async function gather(part: AsyncIterable<CheckResult>): Promise<CheckResult[]> {
  const found: CheckResult[] = []
  for await (const result of part) found.push(result)
  return found
}

/** As it is among what was found. */
export function failure(about: string, says: RegExp): CheckResult {
  return { about, state: 'failed', says: expect.stringMatching(says) }
}

/** Something else than what should be there, which treats connections so. Returns its port. */
export async function withListener<T>(treat: (socket: Socket) => void, work: (port: number) => Promise<T>) {
  const server = createServer(treat).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    return await work((server.address() as AddressInfo).port)
  } finally {
    server.close()
  }
}

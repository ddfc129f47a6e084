import type { S3Keys } from '../../support/s3-signer.ts'
import type { Span } from './contest.ts'
import type { Answer, Operation } from './operation.ts'

/** What the test tells a client process. */
export type ToClient = ({ tell: 'work' } & Work) | { tell: 'stop' }

export interface Work {
  url: string
  token: string
  /** Of S3. */
  keys: S3Keys
  /** Names that all write to. */
  contested: [string, ...string[]]
}

/**
 * What a client process tells the test: that it asks, and each operation with its answer. A writer is
 * one that asks one thing after the other; `null` is all that write to the contested names.
 */
export type FromClient =
  | { tell: 'asks' }
  | { tell: 'knows'; writer: string | null; operation: Operation; answer: Answer; span: Span }
  | { tell: 'idle' }

/** Microseconds of the machine's clock, which all processes read alike and nobody sets. */
export function now(): number {
  return Number(process.hrtime.bigint() / 1000n)
}

export const BUCKETS = ['alpha', 'beta'] as const

/** The names of one writer. */
export function keysOf(writer: string): [string, ...string[]] {
  return [`alpha/${writer}/0`, `beta/${writer}/1`, `alpha/${writer}/2`, `beta/${writer}/3`]
}

/** The writers of one client process, beside the one that goes for the contested names. */
export function writersOf(client: string): string[] {
  return ['a', 'b', 'c'].map((letter) => `${client}${letter}`)
}

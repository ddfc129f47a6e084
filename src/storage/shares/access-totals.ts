import { type ErrorCode, StorageError } from '../../model/errors.ts'

/** What became of attempts to use shares, as the metric names it. */
const RESULTS = {
  NoSuchShare: 'no_share',
  ShareSecretRequired: 'no_secret',
  InvalidShareSecret: 'wrong_secret',
  TooManyShareSecrets: 'throttled',
  ShareExhausted: 'exhausted',
  ShareForbids: 'forbidden',
  NoSuchKey: 'no_object',
} as const satisfies Partial<Record<ErrorCode, string>>

export type ShareResult = 'allowed' | (typeof RESULTS)[keyof typeof RESULTS] | 'error'

/** Counts them. */
export class AccessTotals {
  readonly counts = new Map<ShareResult, number>(
    (['allowed', ...Object.values(RESULTS), 'error'] as const).map((result) => [result, 0]),
  )

  async of<T>(attempt: Promise<T>): Promise<T> {
    try {
      const done = await attempt
      this.#add('allowed')
      return done
    } catch (error) {
      this.#add(resultOf(error))
      throw error
    }
  }

  #add(result: ShareResult): void {
    this.counts.set(result, (this.counts.get(result) ?? 0) + 1)
  }
}

function resultOf(error: unknown): ShareResult {
  const results: Partial<Record<ErrorCode, ShareResult>> = RESULTS
  return (error instanceof StorageError && results[error.code]) || 'error'
}

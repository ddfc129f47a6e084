/** One HTTP request to a receiver. */
export interface WebhookMessage {
  headers: Record<string, string>
  /** JSON. */
  body: string
}

/** How a part of a server is: `degraded` is what others can do without, `unhealthy` what they cannot. */
export interface PartHealth {
  status: 'healthy' | 'degraded' | 'unhealthy'
  /** How long it took to find out. */
  latencyMs: number
  /** What is wrong, in a sentence for whoever runs the server; null when nothing is. */
  message: string | null
}

export type Parts = Record<string, PartHealth>

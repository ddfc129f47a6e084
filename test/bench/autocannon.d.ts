/** What the bench uses of it; the package brings no types. */
declare module 'autocannon' {
  interface Request {
    path?: string
  }
  interface Options {
    url: string
    connections: number
    /** In seconds. */
    duration: number
    method: 'GET' | 'POST'
    headers: Record<string, string>
    body?: string
    requests?: { setupRequest(request: Request): Request }[]
  }
  interface Result {
    requests: { total: number }
    /** In seconds, as measured. */
    duration: number
    non2xx: number
    errors: number
  }
  export default function autocannon(options: Options): Promise<Result>
}

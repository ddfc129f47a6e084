import { randomUUID } from 'node:crypto'
import type { Command } from './command.ts'
import { RawConnection, type RawResponse, rawRequest } from './raw-http.ts'
import { until } from './wait.ts'

/** A line to one of the workers. */
export class WorkerLine {
  private constructor(
    private readonly connection: RawConnection,
    private readonly auth: string,
  ) {}

  /** Opens connections until one is of that worker, which the log tells. */
  static async open(server: Command, worker: number, key: string): Promise<WorkerLine> {
    const auth = `Authorization: Bearer ${key}`
    const url = await server.url()
    for (;;) {
      const connection = await RawConnection.open(url)
      const id = randomUUID()
      await connection.send(rawRequest('GET', '/status', [`X-Request-Id: ${id}`]))
      await connection.response()
      const line = () => server.logs.find(({ requestId }) => requestId === id)
      await until(() => line() !== undefined, 'the request is in the log')
      if (line()?.pid === worker) return new WorkerLine(connection, auth)
      connection.abort()
    }
  }

  async request(
    method: string,
    path: string,
    headers: string[] = [],
    body?: string | Buffer,
  ): Promise<RawResponse> {
    await this.begin(method, path, headers, body)
    return this.connection.response({ headOnly: method === 'HEAD' })
  }

  begin(method: string, path: string, headers: string[] = [], body?: string | Buffer): Promise<void> {
    return this.connection.send(rawRequest(method, `/storage/v1${path}`, [this.auth, ...headers], body))
  }

  goOn = (...parts: (string | Buffer)[]) => this.connection.send(...parts)
  response = () => this.connection.response()
  close = () => this.connection.abort()
}

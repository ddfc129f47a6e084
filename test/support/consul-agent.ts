import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Call {
  method: string | undefined
  url: string | undefined
  token: string | undefined
  body: Record<string, unknown> | undefined
}

/** Stands in for an agent of Consul, which Debian does not have here: it writes down what it is told. */
export class Agent {
  readonly calls: Call[] = []
  status = 200
  /** What it says when it does not refuse. */
  answer = ''
  /** Instead of an answer the connection is cut. */
  isAway = false
  beforeAnswer = async () => {}
  readonly #server: Server

  constructor() {
    this.#server = createServer(async (request, response) => {
      let text = ''
      for await (const bytes of request) text += bytes
      if (this.isAway) return void request.socket.destroy()
      const token = request.headers['x-consul-token'] as string | undefined
      const body = text === '' ? undefined : JSON.parse(text)
      this.calls.push({ method: request.method, url: request.url, token, body })
      await this.beforeAnswer()
      response
        .writeHead(this.status)
        .end(this.status === 200 ? this.answer : 'Permission denied: token-that-is-secret')
    })
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

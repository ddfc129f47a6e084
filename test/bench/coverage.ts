import { WebSocket } from 'ws'

/** How often each function of a script has run since the last look. */
export interface ScriptCoverage {
  url: string
  functions: {
    /** Empty for one without. */
    functionName: string
    /** The first is the whole of it. */
    ranges: { count: number }[]
  }[]
}

/** What a process runs, by the inspector that it was started with (`--inspect`). */
export class Coverage {
  readonly #socket: WebSocket
  #asked = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
  }

  /** Begins to count. @param port of its inspector, which listens */
  static async begin(port: number): Promise<Coverage> {
    const [target] = (await (await fetch(`http://127.0.0.1:${port}/json`)).json()) as {
      webSocketDebuggerUrl: string
    }[]
    const socket = new WebSocket(target?.webSocketDebuggerUrl ?? '')
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    const coverage = new Coverage(socket)
    await coverage.#ask('Profiler.enable')
    await coverage.#ask('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
    return coverage
  }

  /** What has run since the last look. */
  async take(): Promise<ScriptCoverage[]> {
    const { result } = (await this.#ask('Profiler.takePreciseCoverage')) as { result: ScriptCoverage[] }
    return result
  }

  end(): void {
    this.#socket.close()
  }

  #ask(method: string, params: object = {}): Promise<object> {
    const id = ++this.#asked
    return new Promise((resolve, reject) => {
      this.#socket.on('message', function heard(this: WebSocket, data) {
        const answer = JSON.parse(String(data)) as {
          id?: number
          result: object
          error?: { message: string }
        }
        if (answer.id !== id) return
        this.off('message', heard)
        if (answer.error) reject(new Error(answer.error.message))
        else resolve(answer.result)
      })
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }
}

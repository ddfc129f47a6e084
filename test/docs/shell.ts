import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Writable } from 'node:stream'

export interface Ran {
  printed: string
  /** The commands that have failed. */
  failed: string[]
  /** What they said on stderr. */
  said: string
}

/**
 * When our end of the fourth pipe is closed, also by our death, all that runs here is interrupted. curl is silent but for its
 * errors, and fails when it is refused. What is installed is not installed anew.
 */
const PRELUDE = `
(cat <&3; kill -INT 0) >/dev/null 2>&1 &
exec 3<&-
curl() { command curl -sS --fail-with-body "$@"; }
npm() { [ "$1" = ci ] || command npm "$@"; }
set -o pipefail
trap 'FAILED+=("$BASH_COMMAND")' ERR
`

/** Somebody's terminal, into which block after block is typed: what one sets, the next one has. */
export class Shell {
  readonly #bash: ChildProcess
  readonly #ended: Promise<void>
  #printed = ''
  #said = ''
  #heard = () => {}

  /** @param env what it has besides PATH and HOME */
  constructor(cwd: string, env: Record<string, string>) {
    const { PATH = '', HOME = '' } = process.env
    // In a group of its own, which is interrupted as a terminal does it.
    this.#bash = spawn('bash', [], {
      ...{ cwd, env: { PATH, HOME, ...env }, detached: true },
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    })
    this.#bash.stdout?.on('data', (bytes) => {
      this.#printed += bytes
      this.#heard()
    })
    this.#bash.stderr?.on('data', (bytes) => {
      this.#said += bytes
    })
    this.#ended = new Promise((resolve) => {
      this.#bash.once('close', () => {
        resolve()
        this.#heard()
      })
    })
    this.#bash.stdin?.write(PRELUDE)
  }

  get #isRunning(): boolean {
    return this.#bash.exitCode === null && this.#bash.signalCode === null
  }

  /** Types commands that come to an end, and waits for it. */
  async run(text: string): Promise<Ran> {
    const end = randomUUID()
    const from = this.#said.length
    this.#printed = ''
    this.#bash.stdin?.write(
      `FAILED=(); { ${text}\n} </dev/null; printf '\\n%s\\n' ${end} "\${FAILED[@]}" ${end}\n`,
    )
    const isOver = new RegExp(`^([^]*)\\n${end}\\n([^]*)${end}\\n$`)
    let over: RegExpExecArray | null = null
    await new Promise<void>((resolve, reject) => {
      this.#heard = () => {
        over = isOver.exec(this.#printed)
        if (over !== null) resolve()
        else if (!this.#isRunning) reject(new Error(`bash has ended: ${this.#said}`))
      }
      this.#heard()
    })
    const [, printed = '', failed = ''] = over ?? []
    return { printed, failed: failed.split('\n').filter((line) => line !== ''), said: this.#said.slice(from) }
  }

  /** Types a command that does not come to an end, and waits until it prints this. */
  async start(text: string, isUpWhen: string): Promise<void> {
    this.#bash.stdin?.write(`${text}\n`)
    await new Promise<void>((resolve, reject) => {
      this.#heard = () => {
        if (this.#printed.includes(isUpWhen)) resolve()
        else if (!this.#isRunning) reject(new Error(`It has ended: ${this.#printed}${this.#said}`))
      }
      this.#heard()
    })
  }

  /** Presses Ctrl-C, and waits until all that runs here has ended. Returns what it has printed. */
  async close(): Promise<string> {
    this.#bash.stdin?.end()
    ;(this.#bash.stdio[3] as Writable).end()
    await this.#ended
    return this.#printed
  }
}

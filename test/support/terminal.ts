import { type ChildProcess, spawn } from 'node:child_process'
import { stripVTControlCharacters } from 'node:util'
import { MAIN, type Place } from './command.ts'
import { until } from './wait.ts'

/** The command on a terminal of its own, which util-linux's `script` makes. */
export class Terminal {
  readonly #child: ChildProcess
  readonly ended: Promise<number | null>
  /** What stands on it so far. */
  screen = ''

  constructor(args: string[], { cwd, env = {} }: Place) {
    const { PATH = '', HOME = '' } = process.env
    const command = ['exec', process.execPath, MAIN, ...args].join(' ') // of plain words
    this.#child = spawn('script', ['--quiet', '--return', '--flush', '--command', command, '/dev/null'], {
      cwd,
      env: { PATH, HOME, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child.stdout?.on('data', (bytes) => {
      this.screen = stripVTControlCharacters(`${this.screen}${bytes}`).replaceAll('\r\n', '\n')
    })
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject)
      this.#child.once('close', resolve)
    })
  }

  get lines(): string[] {
    return this.screen.split('\n')
  }

  async says(text: string): Promise<void> {
    await until(() => {
      if (this.screen.includes(text)) return true
      if (this.#child.exitCode !== null) throw new Error(`It has ended: ${this.screen}`)
      return false
    }, `the terminal shows ${text}`)
  }

  pressCtrlC(): void {
    this.#child.stdin?.write('\x03')
  }

  /** Ends it in order, whatever it does. */
  async close(): Promise<void> {
    if (this.#child.exitCode === null) this.pressCtrlC()
    await this.ended
  }
}

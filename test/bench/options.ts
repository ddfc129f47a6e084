import { parseArgs } from 'node:util'

export interface Options {
  help: boolean
  quick: boolean
  /** How often each contestant has its turn. */
  rounds: number
  /** Names of rows. */
  only: string[]
  target?: TargetOptions
  /** Where the bars go, an SVG. */
  chart?: string
  /** Results of an earlier run, drawn in place of a measurement. */
  from?: string
}

export interface TargetOptions {
  /** Of the server, or of where its API begins. */
  url: string
  serviceKey: string
  userToken: string | undefined
}

/** What was asked for cannot be. The message says why. */
export class OptionError extends Error {
  override readonly name = 'OptionError'
}

/**
 * @param names of all rows
 * @throws OptionError
 */
export function readOptions(args: string[], env: NodeJS.ProcessEnv, names: string[]): Options {
  const flags = parse(args)
  const only = flags.only?.split(',') ?? names
  const unknown = only.filter((name) => !names.includes(name))
  if (unknown.length > 0) {
    throw new OptionError(`--only ${unknown.join(',')}: there is no such row, but ${names.join(', ')}`)
  }
  const rounds = Number(flags.rounds ?? (flags.quick ? 3 : 5))
  if (!Number.isInteger(rounds) || rounds < 1) throw new OptionError('--rounds wants a whole number from 1')
  if (flags.from !== undefined && flags.chart === undefined) {
    throw new OptionError('--from wants --chart: where the picture goes')
  }
  return {
    ...{ help: flags.help, quick: flags.quick, rounds, only },
    ...(flags.target !== undefined && { target: readTarget(flags.target, env) }),
    ...(flags.chart !== undefined && { chart: flags.chart }),
    ...(flags.from !== undefined && { from: flags.from }),
  }
}

function parse(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        only: { type: 'string' },
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        target: { type: 'string' },
        chart: { type: 'string' },
        from: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
    return values
  } catch (error) {
    throw new OptionError(`${(error as Error).message}. See --help`)
  }
}

/** Keys come from the environment: everyone can read the arguments of a process. */
function readTarget(url: string, env: NodeJS.ProcessEnv): TargetOptions {
  // The downloads of large objects go over a plain socket.
  if (!URL.canParse(url) || new URL(url).protocol !== 'http:') {
    throw new OptionError('--target wants the URL of a server, such as http://127.0.0.1:5000/storage/v1')
  }
  const serviceKey = env.BENCH_SERVICE_KEY
  if (!serviceKey) throw new OptionError("--target wants the target's service key in BENCH_SERVICE_KEY")
  return { url: url.replace(/\/+$/, ''), serviceKey, userToken: env.BENCH_USER_TOKEN || undefined }
}

import { parseArgs } from 'node:util'
import { FEWEST_ROUNDS } from './results.ts'

export interface Options {
  help: boolean
  quick: boolean
  /** How often each contestant has its turn. */
  rounds: number
  /** How many a large bucket has. */
  objects?: number
  /** Names of rows. */
  only: string[]
  target?: TargetOptions
  /** A commit whose build takes the place of the references, as git knows it. */
  against?: string
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
  const { against } = flags
  if (against !== undefined && flags.target !== undefined) {
    throw new OptionError('--against and --target: a row stands beside one of them')
  }
  const fewest = against === undefined ? 1 : FEWEST_ROUNDS
  const rounds = Number(flags.rounds ?? usualRounds(flags))
  if (!Number.isInteger(rounds) || rounds < fewest) {
    throw new OptionError(`--rounds wants a whole number from ${fewest}`)
  }
  const objects = flags.objects === undefined ? undefined : Number(flags.objects)
  if (objects !== undefined && !(Number.isInteger(objects) && objects >= 100_000 && objects <= 10_000_000)) {
    throw new OptionError('--objects wants a whole number from 100000 to 10000000')
  }
  if (flags.from !== undefined && flags.chart === undefined) {
    throw new OptionError('--from wants --chart: where the picture goes')
  }
  return {
    ...{ help: flags.help, quick: flags.quick, rounds, only },
    ...(objects !== undefined && { objects }),
    ...(flags.target !== undefined && { target: readTarget(flags.target, env) }),
    ...(against !== undefined && { against }),
    ...(flags.chart !== undefined && { chart: flags.chart }),
    ...(flags.from !== undefined && { from: flags.from }),
  }
}

/** Beside another commit they are many and short: the difference is small, and the machine does other things too. */
function usualRounds({ quick, against }: { quick: boolean; against?: string | undefined }): number {
  if (against !== undefined) return quick ? 6 : 12
  return quick ? 3 : 5
}

function parse(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        only: { type: 'string' },
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        objects: { type: 'string' },
        target: { type: 'string' },
        against: { type: 'string' },
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

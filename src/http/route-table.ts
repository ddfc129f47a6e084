import type { Params, Result, Router } from 'hono/router'
import { isBelow } from './request-target.ts'

/** A segment of a path that stands for a parameter: `:name`, or `:name{pattern}`, where the last one may have slashes. */
const PARAMETER = /^:(\w+)(?:\{(.+)\})?$/

interface Route<T> {
  /** A method, or ALL. */
  method: string
  handler: T
  /** What stands before the first parameter or star: all of it, if there is none. */
  start: string
  rest: 'nothing' | 'anything' | { pattern: RegExp; names: string[] }
}

const NONE: Params = {}

/**
 * Which handlers a request has, in the order in which they were added. Hono's own quick router refuses routes such as ours, and
 * the other one takes several times as long as to look at each: a twentieth of what a small GET costs.
 *
 * Paths are those of Hono, without optional parameters: `/a/:b/:c{.*}`, or with a star at the end, which is anything below
 * and the path before it.
 */
export class RouteTable<T> implements Router<T> {
  readonly name = 'RouteTable'
  readonly #routes: Route<T>[] = []
  readonly #byMethod = new Map<string, Route<T>[]>()

  add(method: string, path: string, handler: T): void {
    this.#routes.push({ method, handler, ...compile(path) })
    this.#byMethod.clear()
  }

  match(method: string, path: string): Result<T> {
    const found: [T, Params][] = []
    for (const { start, rest, handler } of this.#routesOf(method)) {
      if (!path.startsWith(start)) continue
      if (rest === 'nothing') {
        if (path.length === start.length) found.push([handler, NONE])
      } else if (rest === 'anything') {
        if (start === '' || isBelow(path, start)) found.push([handler, NONE])
      } else {
        const values = rest.pattern.exec(path)
        if (values) found.push([handler, named(rest.names, values)])
      }
    }
    return [found]
  }

  #routesOf(method: string): Route<T>[] {
    let routes = this.#byMethod.get(method)
    if (!routes) {
      routes = this.#routes.filter((route) => route.method === method || route.method === 'ALL')
      this.#byMethod.set(method, routes)
    }
    return routes
  }
}

function compile(path: string): Pick<Route<never>, 'start' | 'rest'> {
  if (path.endsWith('/*')) return { start: path.slice(0, -'/*'.length), rest: 'anything' }
  const names: string[] = []
  const segments = path.split('/').map((segment) => {
    const [, name, pattern = '[^/]+'] = PARAMETER.exec(segment) ?? []
    if (name === undefined) return segment.replaceAll(/[^\w-]/g, '\\$&')
    names.push(name)
    return `(${pattern})`
  })
  if (names.length === 0) return { start: path, rest: 'nothing' }
  const pattern = new RegExp(`^${segments.join('/')}$`, 's')
  return { start: path.slice(0, path.indexOf(':')), rest: { pattern, names } }
}

function named(names: string[], values: RegExpExecArray): Params {
  const params: Params = {}
  for (let index = 0; index < names.length; index++) params[names[index] ?? ''] = values[index + 1] ?? ''
  return params
}

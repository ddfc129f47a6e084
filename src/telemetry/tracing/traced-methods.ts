import type { Tracing } from './tracing.ts'

/**
 * An object whose methods are steps of the request that calls them, each by its class and its name: `FileStorage.upload`. What
 * they call within is the object itself, and is no step.
 */
export function traceMethods<T extends object>(target: T, tracing: Tracing): T {
  const { name } = target.constructor
  const traced = new Map<string | symbol, unknown>()
  return new Proxy(target, {
    get: (_, key) => {
      const value: unknown = Reflect.get(target, key, target)
      if (typeof value !== 'function') return value
      let method = traced.get(key)
      if (!method) {
        method = (...args: unknown[]) =>
          tracing.during(`${name}.${String(key)}`, {}, () => Reflect.apply(value, target, args))
        traced.set(key, method)
      }
      return method
    },
  })
}

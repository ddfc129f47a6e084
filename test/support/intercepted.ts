import type { Backend } from '../../src/backend/backend.ts'

/** The same backend, but something happens just before each of its answers. @param before is told the method's name */
export function intercepted<B extends Backend>(backend: B, before: (method: string) => Promise<void>): B {
  return new Proxy(backend, {
    get: (target, name) => {
      const member = Reflect.get(target, name)
      // A list is not waited for.
      if (typeof member !== 'function' || name === 'list' || name === 'unfinished') {
        return typeof member === 'function' ? member.bind(target) : member
      }
      return async (...args: unknown[]) => {
        await before(String(name))
        return Reflect.apply(member, target, args)
      }
    },
  })
}

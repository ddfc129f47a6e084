import type { Backend } from '../../src/backend/backend.ts'

/** The same backend, but something happens just before each of its answers. @param before is told the method's name */
export function intercepted(backend: Backend, before: (method: string) => Promise<void>): Backend {
  return new Proxy<Backend>(backend, {
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

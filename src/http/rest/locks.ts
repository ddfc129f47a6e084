import { Hono } from 'hono'
import type { FoundLock } from '../../database/queries/object-locks.ts'
import { isLocked } from '../../model/object-lock.ts'
import { requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logTarget, logVersion } from '../env.ts'
import { jsonReader } from '../message/json-body.ts'
import { objectTarget } from '../message/request-path.ts'
import { wantedVersion } from '../message/wanted-version.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { findLock, lockObject, lockSchema } from './operations/locks.ts'

/** What keeps versions from being removed (docs/versions.md). */
export function lockRoutes(services: Services) {
  const { locks, supabaseCompat } = services
  const readJson = jsonReader(services)

  function targetOf(c: AppContext) {
    const { bucket, name } = objectTarget(c.req.path, '/lock/')
    logTarget(c, bucket, name)
    const version = wantedVersion(c.env, supabaseCompat)
    logVersion(c, version)
    return { bucket, name, version }
  }

  function answer(c: AppContext, lock: FoundLock) {
    c.env.notes.objectId = lock.id
    c.env.notes.resourceId = lock.version
    return c.json({
      version_id: lock.version,
      is_locked: isLocked(lock, new Date()),
      locked_until: lock.lockedUntil,
      retain_until: lock.retainUntil,
      legal_hold: lock.legalHold,
    })
  }

  return new Hono<Env>()
    .get(
      '/lock/:bucket/:key{.*}',
      operation(findLock, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.get_lock')
        return answer(c, await locks.find(caller, targetOf(c)))
      }),
    )
    .put(
      '/lock/:bucket/:key{.*}',
      operation(lockObject, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.lock')
        const target = targetOf(c)
        const { retain_until: retainUntil, legal_hold: legalHold } = await readJson(
          c.env.incoming,
          lockSchema,
        )
        return answer(c, await locks.lock(caller, target, { retainUntil, legalHold }))
      }),
    )
}

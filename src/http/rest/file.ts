import { Hono } from 'hono'
import { demand } from '../../model/write-condition.ts'
import { requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logObject, logTarget } from '../env.ts'
import { writeCondition } from '../message/conditionals.ts'
import { jsonReader } from '../message/json-body.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { changeSchema, changesIn, MAX_CHANGE_BYTES } from './change-fields.ts'
import { permanence } from './object.ts'
import { changeFile, deleteFile, getFile } from './operations/file.ts'
import { fileJson } from './responses.ts'

/** Objects by their ids, which stay when they are moved or overwritten. New routes: they answer alike in both modes. */
export function fileRoutes(services: Services) {
  const { files } = services
  const readJson = jsonReader(services)
  return new Hono<Env>()
    .get(
      '/file/:id',
      operation(getFile, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.get_file')
        return files.byId(caller, idOf(c), async (object) => {
          logObject(c, object)
          return c.json(fileJson(object))
        })
      }),
    )
    .patch(
      '/file/:id',
      operation(changeFile, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.update')
        const condition = writeCondition(c.env.incoming.headers)
        const changes = changesIn(
          await readJson(c.env.incoming, changeSchema, { maxBytes: MAX_CHANGE_BYTES }),
        )
        return files.byId(caller, idOf(c), async (object) => {
          logTarget(c, object.bucket, object.name)
          const changed = await files.change(
            caller,
            object.bucket,
            object.name,
            changes,
            condition,
            object.id,
          )
          logObject(c, changed)
          return c.json(fileJson(changed))
        })
      }),
    )
    .delete(
      '/file/:id',
      operation(deleteFile, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.delete')
        const condition = writeCondition(c.env.incoming.headers)
        const permanent = permanence(c)
        await files.byId(caller, idOf(c), async (object) => {
          const { bucket, name, version } = object
          logTarget(c, bucket, name)
          logObject(c, object)
          demand(condition, object)
          // It alone, and not what another may have put in its place by now.
          await files.remove(caller, bucket, name, { isVersion: version ?? '' }, permanent)
        })
        if (permanent === undefined) return c.body(null, 204)
        return c.json({ success: true, message: 'Successfully deleted', permanent })
      }),
    )
}

function idOf(c: AppContext): string {
  return c.req.param('id') ?? ''
}

import { Hono } from 'hono'
import type { z } from 'zod'
import type { WantedVersion } from '../../model/version-id.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import { requireCaller } from '../auth/caller.ts'
import { type Env, logObject, logRoute } from '../env.ts'
import { writeCondition } from '../message/conditionals.ts'
import { jsonReader } from '../message/json-body.ts'
import { headerValue, metadataFromHeader } from '../message/upload-headers.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { copyObject, copySchema, moveObject, moveSchema } from './operations/object.ts'
import { keyOf, ownFields, storedRowJson, successResponse, versionJson, withVersion } from './responses.ts'

/** Objects that get another name, or a second one. */
export function moveCopyRoutes(services: Services) {
  const { files } = services
  const readJson = jsonReader(services)

  return new Hono<Env>()
    .post(
      '/object/move',
      operation(moveObject, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.move')
        const body = await readJson(c.env.incoming, moveSchema)
        const { from, to } = route(body)
        logRoute(c, from, to)
        const condition = writeCondition(c.env.incoming.headers)
        const { ifNoneMatch, ...source } = condition ?? {}
        // A move never replaces: what must not be there is under the new name, all else is said of what is moved.
        const moved = await files.move(
          caller,
          { ...from, version: byId(body.sourceVersionId) },
          to,
          condition && { source, target: { ifNoneMatch } },
        )
        logObject(c, moved)
        return c.json({ message: 'Successfully moved' })
      }),
    )
    .post(
      '/object/copy',
      operation(copyObject, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.copy')
        const body = await readJson(c.env.incoming, copySchema)
        const { from, to } = route(body)
        logRoute(c, from, to)
        const { object } = await files.copy(caller, {
          from: { ...from, version: byId(body.sourceVersionId) },
          to,
          upsert: c.req.header('x-upsert') === 'true',
          condition: writeCondition(c.env.incoming.headers),
          replace:
            body.copyMetadata === false
              ? {
                  contentType: parseContentType(body.metadata?.mimetype ?? undefined),
                  cacheControl: parsed(body.metadata?.cacheControl, headerValue),
                  contentEncoding: parsed(body.metadata?.contentEncoding, headerValue),
                  userMetadata: metadataFromHeader(c.req.header('x-metadata')) ?? null,
                }
              : undefined,
        })
        logObject(c, object)
        return successResponse(
          c,
          services,
          withVersion(object, { Id: object.id, Key: keyOf(object), ...storedRowJson(object) }),
          { fields: { ...ownFields(object), ...versionJson(object) } },
        )
      }),
    )
}

function route(body: z.infer<typeof moveSchema>) {
  return {
    from: { bucket: body.bucketId, name: body.sourceKey },
    to: { bucket: body.destinationBucket ?? body.bucketId, name: body.destinationKey },
  }
}

function byId(id: string | undefined): WantedVersion | undefined {
  return id === undefined ? undefined : { id }
}

function parsed<T>(text: string | null | undefined, parse: (text: string) => T): T | undefined {
  return text == null ? undefined : parse(text)
}

import { Hono } from 'hono'
import { z } from 'zod'
import type { SignedUrl } from '../../storage/links/signed-urls.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import { anonymousCaller, requireCaller } from '../auth/caller.ts'
import { sendSigned, signedTarget } from '../auth/signed-request.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader, MAX_BULK_BYTES } from '../message/json-body.ts'
import { absoluteUrl, encodePath } from '../message/public-url.ts'
import { objectTarget, parameterOf } from '../message/request-path.ts'
import { metadataFromHeader } from '../message/upload-headers.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  downloadSigned,
  signManySchema,
  signObject,
  signObjects,
  signSchema,
  signUpload,
  uploadSigned,
} from './operations/sign.ts'
import { receiveUpload } from './receive-upload.ts'
import { keyOf, successList, successResponse, uploadResponse } from './responses.ts'

export function signRoutes(services: Services) {
  const { urls } = services
  return new Hono<Env>()
    .post(
      '/object/upload/sign/:bucket/:key{.*}',
      operation(signUpload, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.sign_upload_url')
        const target = objectTarget(c.req.path, '/object/upload/sign/')
        logTarget(c, target.bucket, target.name)
        const signed = await urls.signUpload(caller, {
          ...target,
          upsert: c.req.header('x-upsert') === 'true',
          contentType: uploadContentType(c),
          userMetadata: metadataFromHeader(c.req.header('x-metadata')),
        })
        // storage-js appends this to its base and reads the token out of it again.
        const url = `/object/upload/sign/${encodePath(signed.bucket)}/${encodePath(signed.name)}?token=${signed.token}`
        return successResponse(
          c,
          services,
          { url, token: signed.token },
          {
            fields: {
              signed_url: absoluteUrl(c, services, url + expires(signed)),
              expires_at: signed.expiresAt,
            },
          },
        )
      }),
    )
    .put(
      '/object/upload/sign/:bucket/:key{.*}',
      operation(uploadSigned, async (c) => {
        const caller = anonymousCaller(c, services, 'storage.object.upload_signed')
        const { granted: grant } = signedTarget(c, '/object/upload/sign/', (...link) =>
          urls.checkUpload(...link),
        )
        const condition = writeCondition(c.env.incoming.headers)
        c.env.notes.user = grant.owner
        const stored = await receiveUpload(c, services, caller, (content) =>
          urls.upload(caller, grant, { ...content, condition }),
        )
        return uploadResponse(c, services, stored, { Key: keyOf(stored.object) })
      }),
    )
    .get(
      '/object/sign/:bucket/:key{.*}',
      operation(downloadSigned, (c) => sendSigned(c, services, '/object/sign/')),
    )
    .post(
      '/object/sign/:bucket',
      operation(signObjects, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.sign_many')
        const { bucket } = objectTarget(c.req.path, '/object/sign/')
        logTarget(c, bucket)
        const { expiresIn, paths } = await readExpiry(c, services, signManySchema, {
          maxBytes: MAX_BULK_BYTES,
        })
        const signed = await urls.signDownloads(caller, bucket, paths, expiresIn)

        c.env.notes.each = paths.map((path, index) => ({ path, status: signed[index] ? 200 : 404 }))
        return successList(
          c,
          services,
          paths.map((path, index) => {
            const url = signed[index]
            if (url) {
              const { signedURL, ...fields } = signedJson(c, services, url)
              return { body: { path, error: null, signedURL }, fields }
            }
            const error = 'Either the object does not exist or you do not have access to it'
            return { body: { path, error, signedURL: null }, fields: {} }
          }),
        )
      }),
    )
    .post(
      '/object/sign/:bucket/:key{.*}',
      operation(signObject, async (c) => {
        const caller = await requireCaller(c, services, 'storage.object.sign')
        const { bucket, name } = objectTarget(c.req.path, '/object/sign/')
        logTarget(c, bucket, name)
        const { expiresIn, versionId } = await readExpiry(c, services, signSchema)
        const signed = await urls.signDownload(caller, bucket, name, expiresIn, versionId)
        const { signedURL, ...fields } = signedJson(c, services, signed)
        return successResponse(c, services, { signedURL }, { fields })
      }),
    )
}

/**
 * A link in both forms: relative, for storage-js to encode, and absolute (wire §3.11). It encodes neither `#`, so that
 * what follows would never be sent, nor less than the whole: both signs of the name are encoded before.
 */
function signedJson(c: AppContext, services: Services, signed: SignedUrl) {
  const token = `?token=${signed.token}`
  const path = `/object/sign/${encodePath(signed.bucket)}/${encodePath(signed.name)}${token}`
  return {
    signedURL: `/object/sign/${signed.bucket}/${signed.name.replace(/[%#]/g, encodeURIComponent)}${token}`,
    url: absoluteUrl(c, services, path + expires(signed)),
    expires_at: signed.expiresAt,
  }
}

/** For who has only the link: until when it works, in seconds since 1970. Another one than the token's is refused. */
function expires({ expiresAt }: SignedUrl): string {
  return `&expires=${expiresAt.getTime() / 1000}`
}

/** The body, with `?expires_in=` standing in for `expiresIn` (wire §3.11). */
async function readExpiry<T extends { expiresIn: number }>(
  c: AppContext,
  services: Services,
  schema: z.ZodType<T>,
  limit?: { maxBytes: number },
): Promise<T> {
  const inQuery = parameterOf(c.env, 'expires_in')
  const readJson = jsonReader(services)
  if (inQuery === undefined) return readJson(c.env.incoming, schema, limit)
  const body = await readJson(c.env.incoming, z.looseObject({}), limit)
  return checkShape('body', { expiresIn: inQuery, ...body }, schema, services.supabaseCompat)
}

/** Of the upload to come; JSON is what storage-js sends with this request itself. */
function uploadContentType(c: AppContext): string | undefined {
  const sent = parseContentType(c.req.header('content-type'))
  return sent === 'application/json' ? undefined : sent
}

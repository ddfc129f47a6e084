import { Hono } from 'hono'
import { z } from 'zod'
import type { Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { LinkOptions } from '../../storage/links/signed-urls.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import { anonymousCaller, callerOf, requireCaller } from '../auth/caller.ts'
import { setFolderCookie } from '../auth/folder-cookie.ts'
import { sendOfFolder, sendSigned, signedTarget } from '../auth/signed-request.ts'
import { type AppContext, type Env, logTarget } from '../env.ts'
import { writeCondition } from '../message/conditionals.ts'
import { checkShape, jsonReader, MAX_BULK_BYTES } from '../message/json-body.ts'
import { linkOptions } from '../message/link-options.ts'
import { absoluteUrl, encodePath } from '../message/public-url.ts'
import { objectTarget, parameterOf } from '../message/request-path.ts'
import { metadataFromHeader } from '../message/upload-headers.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  downloadOfFolder,
  downloadSigned,
  revokeSchema,
  revokeSigned,
  signManySchema,
  signObject,
  signObjects,
  signSchema,
  signUpload,
  uploadSigned,
} from './operations/sign.ts'
import { receiveUpload } from './receive-upload.ts'
import { keyOf, successList, successResponse, uploadResponse } from './responses.ts'
import { expires, folderJson, signedJson } from './signed-json.ts'

export function signRoutes(services: Services) {
  const { urls } = services
  return (
    new Hono<Env>()
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
                id: signed.id,
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
          const { granted: grant } = await signedTarget(c, '/object/upload/sign/', (...link) =>
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
      // What has not the form of a token is a name in the bucket `sign-path`.
      .get(
        '/object/sign-path/:token{[\\w-]+\\.[\\w-]+\\.[\\w-]{43}}/:bucket/:key{.*}',
        operation(downloadOfFolder, (c) => {
          const token = c.req.param('token') ?? ''
          return sendOfFolder(c, services, `/object/sign-path/${token}/`, [token])
        }),
      )
      .post(
        '/object/sign/revoke',
        operation(revokeSigned, async (c) => {
          const caller = await requireCaller(c, services, 'storage.object.sign_revoke')
          const sent = await readBody(c, services)
          // That bucket's name is a legal one.
          if ('paths' in sent) return signMany(c, services, callerOf(c, services, caller, SIGN_MANY), sent)
          const { bucket, path: name, ...which } = check(services, sent, revokeSchema)
          if (bucket !== undefined) logTarget(c, bucket, name)
          if ((bucket === undefined) !== (name === undefined)) {
            throw new StorageError('InvalidParameter', { message: 'bucket and path go together' })
          }
          const object = bucket === undefined || name === undefined ? undefined : { bucket, name }
          const revoked = await services.revoker.revoke(caller, { ...which, object })
          if (revoked.object) logTarget(c, revoked.object.bucket, revoked.object.name)
          c.env.notes.resourceId = revoked.id ?? which.subject
          return c.json({ message: 'Successfully revoked', id: revoked.id, before: revoked.moment })
        }),
      )
      .post(
        '/object/sign/:bucket',
        operation(signObjects, async (c) => {
          const caller = await requireCaller(c, services, SIGN_MANY)
          return signMany(c, services, caller, await readBody(c, services))
        }),
      )
      .post(
        '/object/sign/:bucket/:key{.*}',
        operation(signObject, async (c) => {
          const caller = await requireCaller(c, services, 'storage.object.sign')
          const { bucket, name } = objectTarget(c.req.path, '/object/sign/')
          logTarget(c, bucket, name)
          const body = withExpiry(c, await jsonReader(services)(c.env.incoming, z.looseObject({})))
          const { expiresIn, versionId, prefix, list, cookie, ...options } = check(services, body, signSchema)
          const link = linkOptions(expiresIn, options)
          if (prefix) {
            const folder = { ...folderOptions(link, versionId), mayList: list ?? false }
            const signed = await services.folders.sign(caller, bucket, name, folder)
            if (cookie) setFolderCookie(c, services, signed, expiresIn)
            return c.json(folderJson(c, services, signed))
          }
          if (list !== undefined || cookie !== undefined) {
            throw new StorageError('InvalidParameter', { message: 'list and cookie go with prefix' })
          }
          const signed = await urls.signDownload(caller, { bucket, name, versionId }, link)
          const { signedURL, ...fields } = signedJson(c, services, signed)
          return successResponse(c, services, { signedURL }, { fields })
        }),
      )
  )
}

const SIGN_MANY = 'storage.object.sign_many'

/** Of a folder there is neither one version nor a number of times. @throws InvalidParameter */
function folderOptions({ expiresInSeconds, isStable, limits }: LinkOptions, versionId: string | undefined) {
  if (isStable || limits?.max_downloads !== undefined || versionId !== undefined) {
    throw new StorageError('InvalidParameter', {
      message: 'prefix goes without stable, once, max_downloads and versionId',
    })
  }
  return { expiresInSeconds, limits }
}

/** @param body as it was sent */
async function signMany(c: AppContext, services: Services, caller: Caller, body: Body): Promise<Response> {
  const { bucket } = objectTarget(c.req.path, '/object/sign/')
  logTarget(c, bucket)
  const { expiresIn, paths, ...options } = check(services, withExpiry(c, body), signManySchema)
  const signed = await services.urls.signDownloads(caller, bucket, paths, linkOptions(expiresIn, options))

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
}

type Body = Record<string, unknown>

/** Of what may be about many objects. */
function readBody(c: AppContext, services: Services): Promise<Body> {
  return jsonReader(services)(c.env.incoming, z.looseObject({}), { maxBytes: MAX_BULK_BYTES })
}

/** With `?expires_in=` standing in for `expiresIn` (wire §3.11). */
function withExpiry(c: AppContext, body: Body): Body {
  const inQuery = parameterOf(c.env, 'expires_in')
  return inQuery === undefined ? body : { expiresIn: inQuery, ...body }
}

function check<T>({ supabaseCompat }: Services, body: Body, schema: z.ZodType<T>): T {
  return checkShape('body', body, schema, supabaseCompat)
}

/** Of the upload to come; JSON is what storage-js sends with this request itself. */
function uploadContentType(c: AppContext): string | undefined {
  const sent = parseContentType(c.req.header('content-type'))
  return sent === 'application/json' ? undefined : sent
}

import { randomBytes } from 'node:crypto'
import { Hono } from 'hono'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { parseIdempotencyKey } from '../../storage/idempotent-requests.ts'
import { parseFileName } from '../../storage/object/attributes.ts'
import type { Making } from '../../storage/object/made-name.ts'
import type { StoredObject } from '../../storage/object/stored-object.ts'
import { readForHash } from '../../storage/uploads/named-upload.ts'
import { askerOf, requireCaller } from '../auth/caller.ts'
import { type AppContext, type Env, logStored, logTarget } from '../env.ts'
import { refuseCondition } from '../message/conditionals.ts'
import { objectTarget } from '../message/request-path.ts'
import { textOfHeader } from '../message/upload-headers.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { uploadNamed } from './operations/named-upload.ts'
import { receiveUpload } from './receive-upload.ts'
import { fileJson, keyOf } from './responses.ts'
import { signedJson } from './signed-json.ts'

/** For how long the answer's URL works, in seconds. */
const URL_SECONDS = 86_400

/** Uploads whose names the server makes (docs/attributes.md). A new route: it answers alike in both modes. */
export function namedUploadRoutes(services: Services) {
  const { files, urls, idempotency } = services

  return new Hono<Env>().post(
    '/object/:bucket',
    operation(uploadNamed, async (c) => {
      const caller = await requireCaller(c, services, 'storage.object.upload')
      const { bucket } = objectTarget(c.req.path, '/object/')
      logTarget(c, bucket)
      refuseCondition(c.env.incoming.headers)
      const { answer, isReplay } = await idempotency.once<Making, Record<string, unknown>>({
        key: parseIdempotencyKey(c.req.header('idempotency-key')),
        who: `${caller.role} ${askerOf(c, services, caller)}`,
        isService: caller.role === 'service_role',
        request: null,
        note: () => ({ at: Date.now(), random: randomBytes(4).toString('hex') }),
        work: (making, isAgain) =>
          receiveUpload(c, services, caller, async ({ partName, ...content }) => {
            const fileName = content.fileName ?? nameSent(c, partName)
            const named = { ...content, bucket, fileName, making, isAgain }
            const { stored, request } = await files.uploadNamed(caller, named)
            logStored(c, stored)
            return { answer: await answerOf(c, caller, stored.object), request }
          }),
        reread: () =>
          receiveUpload(c, services, caller, async ({ partName, ...content }) => {
            const fileName = content.fileName ?? nameSent(c, partName)
            return (await readForHash({ ...content, bucket, fileName }, services.maxFileSize)).request
          }),
      })
      if (isReplay) c.header('Idempotent-Replayed', 'true')
      return c.json(answer, 201)
    }),
  )

  async function answerOf(c: AppContext, caller: Caller, object: StoredObject) {
    const { bucket, name } = object
    const expiresInSeconds = Math.min(URL_SECONDS, urls.maxExpirySeconds)
    const signed = await urls.signDownload(caller, { bucket, name }, { expiresInSeconds }).catch(notShown)
    return {
      ...fileJson(object),
      Id: object.id,
      Key: keyOf(object),
      message: 'Successfully uploaded',
      download_url: signed && signedJson(c, services, signed).url,
    }
  }
}

/** It is stored, whoever may read it. */
function notShown(error: unknown): null {
  if (hasCode(error, 'NoSuchKey') || hasCode(error, 'NoSuchBucket')) return null
  throw error
}

/** @throws InvalidRequest when neither says it */
function nameSent(c: AppContext, partName: string): string {
  const header = c.env.incoming.headers['x-file-name']?.toString()
  if (header !== undefined) return parseFileName(textOfHeader(Buffer.from(header, 'latin1')))
  if (partName !== '') return parseFileName(partName)
  throw new StorageError('InvalidRequest', {
    message: 'The file needs a name: by x-file-name, or in the form',
  })
}

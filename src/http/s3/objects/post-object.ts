import type { IncomingHttpHeaders } from 'node:http'
import { StorageError } from '../../../model/errors.ts'
import { nameOfKey } from '../../../storage/object/folder-marker.ts'
import type { StoredObject } from '../../../storage/object/stored-object.ts'
import { tagTexts } from '../../../storage/object/tags.ts'
import type { UploadBody } from '../../../storage/writing/upload-request.ts'
import { logStored, logTarget } from '../../env.ts'
import { absoluteUrl } from '../../message/public-url.ts'
import { type FormKind, UploadForm } from '../../message/upload-form.ts'
import { headerValue } from '../../message/upload-headers.ts'
import { S3_PATH } from '../address.ts'
import { refuseUnknownChecksums, sentChecksum } from '../checksum-words.ts'
import { PassingDigests } from '../passing-digests.ts'
import type { Operation, S3Request } from '../request.ts'
import type { PostPolicy } from '../signature/post-policy.ts'
import { versionHeaders } from '../version-ids.ts'
import { readXml } from '../xml-reader.ts'
import { XML_TYPE, xmlDocument } from '../xml-writer.ts'
import { contentIn } from './content.ts'
import { refuseUnsupported } from './refusals.ts'
import { tagsIn } from './tagging.ts'

/**
 * Wire §6.8. The file is the field of that name, whatever else has a file's name. S3 itself takes 20 KB before it, from
 * whoever sends a form: it is by the fields that one is known.
 */
const S3_FORM: FormKind = {
  maxFields: 32,
  maxBytesBeforeFile: 64 * 1024,
  isFile: (field) => field?.toLowerCase() === 'file',
}

/** Fields that become headers when the object is read, as they are. */
const HEADERS = ['cache-control', 'content-disposition', 'content-encoding', 'content-language', 'expires']

/** Other names for what PUT has in headers. */
const HEADER_OF: Record<string, string> = { acl: 'x-amz-acl' }

/** POST of a form to a bucket, which a browser sends, and whose policy somebody has signed (wire §6.8). */
export const postObject: Operation = {
  name: 'storage.s3.upload',
  async handle(request) {
    const { c, services, bucket } = request
    const { incoming } = c.env
    const { fields, key, stored } = await services.uploads.during(
      incoming,
      request.client(null),
      async (admit) => {
        const form = new UploadForm(incoming, admit, S3_FORM)
        const { body } = await form.content
        const { fields } = form
        try {
          const { caller, policy } = await request.formCaller(fields)
          const key = keyIn(form)
          const name = nameOfKey(key)
          logTarget(c, bucket, name)
          const headers = headersIn(fields)
          refuseUnknownChecksums(fields.keys())
          await refuseUnsupported(request, headers)
          const { headers: kept, ...content } = contentIn(headers)
          const stored = await services.files.upload(caller, {
            ...content,
            // The policy's signer decides, by a field: neither the file's own type nor its name is in what was signed.
            isNameSilent: true,
            tags: formTags(fields),
            bucket,
            name,
            upsert: true,
            body: checkedBody(request, body, fields, policy, kept),
          })
          return { fields, key, stored }
        } catch (error) {
          body.discard()
          throw error
        }
      },
    )
    logStored(c, stored)
    return answer(request, fields, key, stored.object)
  },
}

/** In characters. A field may have more, and the name of a file be put into it thousands of times. */
const LONGEST_KEY = 1024

/** @throws InvalidParameter without one */
function keyIn({ fields, fileName }: UploadForm): string {
  const key = fields.get('key')
  if (!key) throw new StorageError('InvalidParameter', { message: 'The form has no field key' })
  if (key.length > LONGEST_KEY) return key // which is no name, and refused as such
  return key.replace(/\$\{filename\}/g, () => fileName)
}

/** @throws InvalidHeaderChar */
function headersIn(fields: ReadonlyMap<string, string>): IncomingHttpHeaders {
  const headers: IncomingHttpHeaders = {}
  for (const [field, value] of fields) {
    const name = HEADER_OF[field] ?? field
    // As Node gives what comes in headers.
    headers[name] = HEADERS.includes(name) ? headerValue(value) : Buffer.from(value).toString('latin1')
  }
  return headers
}

/** @throws MalformedXML, InvalidTag */
function formTags(fields: ReadonlyMap<string, string>): string[] | undefined {
  const tagging = fields.get('tagging')
  return tagging === undefined ? undefined : tagTexts(tagsIn(readXml(Buffer.from(tagging), 'Tagging')))
}

/** The file, held against the policy's range and the checksum that a field may have. */
function checkedBody(
  { md5Thread }: S3Request,
  body: UploadBody,
  fields: ReadonlyMap<string, string>,
  { minBytes, maxBytes }: PostPolicy,
  kept: object,
): UploadBody {
  const { stream } = body
  const sent = sentChecksum(Object.fromEntries(fields))
  const digests = new PassingDigests(sent?.algorithm)
  let size = 0
  stream.pause() // a listener would begin to read, and what passes before the reader comes is lost
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > maxBytes) stream.destroy(new StorageError('EntityTooLarge'))
  })
  return {
    ...body,
    stream: digests.watch(stream, null, md5Thread),
    discard() {
      digests.leave()
      body.discard()
    },
    async late(written) {
      await body.late(written)
      if (size < minBytes) {
        const message = `The file has ${size} bytes, and the policy asks for at least ${minBytes}`
        throw new StorageError('EntityTooSmall', { message })
      }
      const { eTag, checksum } = await digests.digest(written)
      if (sent && checksum?.value !== sent.value) throw new StorageError('BadDigest')
      return { s3: { ...kept, eTag, ...(checksum && { checksum }) } }
    },
  }
}

/** As the form wants it: at another page, or with one of three statuses, of which one tells what was stored. */
function answer(
  request: S3Request,
  fields: ReadonlyMap<string, string>,
  key: string,
  { etag, versionId }: StoredObject,
): Response {
  const { c, services, bucket } = request
  const page = pageIn(fields.get('success_action_redirect') ?? fields.get('redirect'))
  if (page) {
    for (const [name, value] of Object.entries({ bucket, key, etag })) page.searchParams.append(name, value)
    return c.body(null, 303, { Location: page.href, ...versionHeaders(versionId) })
  }
  const path = [bucket, ...key.split('/')].map(encodeURIComponent).join('/')
  const location = absoluteUrl(c, services, `${S3_PATH}/${path}`)
  const headers = { ETag: etag, Location: location, ...versionHeaders(versionId) }
  switch (fields.get('success_action_status')) {
    case '200':
      return request.empty(200, headers)
    case '201': {
      const told = { Location: location, Bucket: bucket, Key: key, ETag: etag }
      return c.body(xmlDocument('PostResponse', told), 201, { 'Content-Type': XML_TYPE, ...headers })
    }
    default:
      return request.empty(204, headers)
  }
}

/** What is no address of the web is as good as none, as with S3. */
function pageIn(text: string | undefined): URL | undefined {
  const page = URL.canParse(text ?? '') ? new URL(text ?? '') : undefined
  return page && /^https?:$/.test(page.protocol) ? page : undefined
}

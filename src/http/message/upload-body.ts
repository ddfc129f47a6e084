import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { freeMemory } from '../../lib/free-memory.ts'
import type { SentAttributes } from '../../model/object-attributes.ts'
import { parseAttributes } from '../../storage/object/attributes.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import type { UploadContent } from '../../storage/writing/upload-request.ts'
import { expectInOneGo } from '../connection/body-pace.ts'
import { DeclaredHashes, hashesInHeaders } from './declared-hashes.ts'
import { parseRobotsTag } from './robots-tag.ts'
import { UploadForm } from './upload-form.ts'
import {
  cacheControlIn,
  declaredLength,
  headerSent,
  metadataFromHeader,
  textOfHeader,
} from './upload-headers.ts'

/**
 * Reads what is around an object's bytes, raw or in a form, and leaves the bytes to be streamed (wire §3.3).
 *
 * @param admit takes a place for the upload
 * @returns `partName` is how a form's file is called, without folders; '' where nothing says it
 * @throws InvalidMimeType, InvalidRobotsTag, InvalidHeaderChar, InvalidChecksum, InvalidRequest, and as `UploadForm`
 */
export async function readUploadBody(
  incoming: IncomingMessage,
  admit: () => void,
): Promise<UploadContent & { partName: string }> {
  const { headers } = incoming
  const robots = one(headers['x-robots-tag'])
  const robotsTag = robots === undefined ? undefined : parseRobotsTag(robots)
  const attributes = attributesIn(headers)
  const isForm = /^multipart\/form-data(?:;|$)/i.test(headers['content-type'] ?? '')
  if (!isForm) return { ...readRaw(incoming, admit), ...attributes, robotsTag, partName: '' }
  const form = new UploadForm(incoming, admit)
  const content = await form.content
  return { ...attributes, ...content, robotsTag, partName: form.fileName }
}

/** By its headers `x-strongroom-…`, each named as the field of a form. @throws as `parseAttributes` */
function attributesIn(headers: IncomingHttpHeaders): SentAttributes {
  if (!Object.keys(headers).some((name) => /^x-(?:strongroom-|tags$)/.test(name))) return {}
  return parseAttributes((field) => {
    const name = field.replaceAll('_', '-')
    const sent = headers[`x-strongroom-${name}`] ?? (field === 'tags' ? headers['x-tags'] : undefined)
    return sent === undefined ? undefined : textOfHeader(Buffer.from(sent.toString(), 'latin1'))
  })
}

function readRaw(incoming: IncomingMessage, admit: () => void): Omit<UploadContent, 'robotsTag'> {
  const { headers } = incoming
  const length = declaredLength(incoming)
  const declared = hashesInHeaders(headers)
  const hashes = declared.length === 0 ? undefined : new DeclaredHashes(declared)
  hashes?.watch(incoming)
  return {
    contentType: rawContentType(headers['content-type']),
    cacheControl: cacheControlIn(headers['cache-control']),
    contentEncoding: headerSent(headers['content-encoding']),
    userMetadata: metadataFromHeader(one(headers['x-metadata'])),
    body: {
      stream: incoming,
      giveBack: freeMemory,
      hasArrived: () => incoming.complete,
      expectBeginning: () => expectInOneGo(incoming),
      admit,
      declaredSize: length,
      requestLength: length,
      discard: () => {}, // no parser holds the stream: what is left of it is read off behind the answer
      late: async (written) => {
        hashes?.verify(written)
        return {}
      },
    },
  }
}

/** What curl says of `-d`, wget of `--post-data`, and nobody of a file: nothing, then. */
const UNSAID = 'application/x-www-form-urlencoded'

/** @throws InvalidMimeType */
export function rawContentType(header: string | undefined): string | undefined {
  const type = parseContentType(header)
  return type === UNSAID ? undefined : type
}

function one(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

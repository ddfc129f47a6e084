import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { Busboy, type BusboyHeaders } from '@fastify/busboy'
import { StorageError } from '../../model/errors.ts'
import { parseContentType } from '../../storage/object/content-type.ts'
import type { LateFields, UploadContent } from '../../storage/writing/upload-request.ts'
import { expectInOneGo } from '../connection/body-pace.ts'
import { FormFraming } from './form-framing.ts'
import { parseRobotsTag } from './robots-tag.ts'
import {
  cacheControlIn,
  cacheControlOf,
  headerSent,
  headerValue,
  metadataFromHeader,
  metadataFromJson,
} from './upload-headers.ts'

/** Wire §3.3. */
const MAX_FORM_FIELDS = 10
const MAX_FIELD_BYTES = 1024 * 1024

/** Of all fields together, their names included: they are kept in memory. The largest one, and room for the rest. */
const MAX_FIELDS_BYTES = MAX_FIELD_BYTES + 64 * 1024

/** Of all that stands before a form's file, with what means nothing. Nobody has been asked yet whether they may upload. */
const MAX_BYTES_BEFORE_FILE = 2 * MAX_FIELD_BYTES

/**
 * Reads what is around an object's bytes, raw or in a form, and leaves the bytes to be streamed (wire §3.3). What
 * stands before a form's file has to come in one go.
 *
 * @param admit takes a place for the upload
 * @throws InvalidMimeType, InvalidRobotsTag, InvalidHeaderChar, InvalidRequest when a form has no file
 */
export async function readUploadBody(incoming: IncomingMessage, admit: () => void): Promise<UploadContent> {
  const { headers } = incoming
  const robotsTag = parseRobotsTag(one(headers['x-robots-tag']))
  const isForm = /^multipart\/form-data(?:;|$)/i.test(headers['content-type'] ?? '')
  return isForm ? readForm(incoming, robotsTag, admit) : readRaw(incoming, robotsTag, admit)
}

function readRaw(incoming: IncomingMessage, robotsTag: string | undefined, admit: () => void): UploadContent {
  const { headers } = incoming
  const length = declaredLength(incoming)
  return {
    contentType: rawContentType(headers['content-type']),
    cacheControl: cacheControlIn(headers['cache-control']),
    contentEncoding: headerSent(headers['content-encoding']),
    robotsTag,
    userMetadata: metadataFromHeader(one(headers['x-metadata'])),
    body: {
      stream: incoming,
      hasArrived: () => incoming.complete,
      admit,
      declaredSize: length,
      requestLength: length,
      discard: () => {}, // no parser holds the stream: what is left of it is read off behind the answer
      late: async () => ({}),
    },
  }
}

/** What curl says of `-d`, wget of `--post-data`, and nobody of a file: nothing, then. */
const UNSAID = 'application/x-www-form-urlencoded'

function rawContentType(header: string | undefined): string | undefined {
  const type = parseContentType(header)
  return type === UNSAID ? undefined : type
}

/** Reads a form up to its first file part. What stands behind the file is told by `late`. */
function readForm(
  incoming: IncomingMessage,
  robotsTag: string | undefined,
  admit: () => void,
): Promise<UploadContent> {
  const beginningIsHere = expectInOneGo(incoming)
  return new Promise((resolve, reject) => {
    const fields = new Map<string, string>()
    let part = -1
    let framing: FormFraming
    let parser: InstanceType<typeof Busboy>
    try {
      framing = new FormFraming(incoming.headers['content-type'] ?? '')
      parser = new Busboy({
        headers: incoming.headers as BusboyHeaders, // the content type is there: the caller has looked at it
        limits: { fields: MAX_FORM_FIELDS, fieldSize: MAX_FIELD_BYTES, files: 1 },
        // storage-js puts the file into a part whose name is empty.
        isPartAFile: (field, contentType, fileName) => {
          part++ // it is asked about each of them, before it is told
          return field === '' || fileName !== undefined || contentType === 'application/octet-stream'
        },
      })
    } catch (cause) {
      reject(malformed('The multipart body has no boundary', cause))
      return
    }
    let fieldsBytes = 0
    let file: Readable | undefined
    let failure: Error | undefined
    let finish: (fields: LateFields) => void = () => {}
    let breakOff: (error: Error) => void = () => {}
    const late = new Promise<LateFields>((done, broken) => {
      finish = done
      breakOff = broken
    })
    late.catch(() => {}) // whoever streams the file hears of it there first

    const fail = (error: Error) => {
      if (failure) return
      failure = error
      incoming.off('data', watch).unpipe(parser)
      breakOff(error)
      // Told at once, for the parser is about to tell the file's reader the same in its own words.
      file?.emit('error', error)
      file?.destroy(error)
      reject(error)
    }

    // Busboy's type does not say that a field may come without a name.
    parser.on('field', (name: string = '', value, _nameTruncated, isTruncated) => {
      fieldsBytes += Buffer.byteLength(name) + Buffer.byteLength(value)
      if (isTruncated) fail(tooLarge(`The form field ${name} is too large`))
      else if (fieldsBytes > MAX_FIELDS_BYTES) fail(tooLarge('The form fields together are too large'))
      else if (!failure) fields.set(name, value) // what the parser has begun to read may hold more of them
    })
    parser.on('file', (_field, stream) => {
      file = stream
      beginningIsHere()
      stream.on('error', () => {}) // it may break before anyone reads it, or without anyone ever reading it
      try {
        const known = formFields(fields)
        resolve({
          // The parser drops its parameters, and says text/plain where there is none.
          contentType: known.contentType ?? parseContentType(framing.typeOf(part)),
          cacheControl: known.cacheControl,
          contentEncoding: known.contentEncoding,
          robotsTag,
          userMetadata: known.userMetadata,
          body: {
            stream,
            hasArrived: () => incoming.complete,
            admit,
            declaredSize: null,
            requestLength: declaredLength(incoming),
            late: () => late,
            discard: () => {
              incoming.unpipe(parser)
              stream.destroy()
              parser.destroy()
            },
          },
        })
      } catch (error) {
        fail(error as Error) // parse functions throw StorageError only
      }
    })
    parser.on('filesLimit', () => fail(malformed('A form may hold one file')))
    parser.on('fieldsLimit', () => fail(malformed(`A form may hold ${MAX_FORM_FIELDS} fields`)))
    parser.on('error', (cause) => fail(malformed('The multipart body is malformed', cause)))
    let bytesBeforeFile = 0
    const watch = (bytes: Buffer) => {
      if (!file) bytesBeforeFile += bytes.length
      try {
        if (bytesBeforeFile > MAX_BYTES_BEFORE_FILE) throw tooLarge('The form has too much before its file')
        framing.write(bytes)
      } catch (error) {
        fail(error as Error) // it throws StorageError only
      }
    }
    let isParsed = false
    const settle = () => {
      if (!isParsed || !incoming.readableEnded || failure) return
      try {
        framing.end()
        if (!file) throw malformed('The form holds no file')
        finish(formFields(fields))
      } catch (error) {
        fail(error as Error)
      }
    }
    parser.on('finish', () => {
      isParsed = true
      if (!failure) incoming.resume() // what stands behind the last part is not for the parser
      settle()
    })
    incoming.on('end', settle)
    incoming.on('error', (cause) =>
      fail(cause instanceof StorageError ? cause : new StorageError('Aborted', { cause })),
    )
    incoming.on('close', () => {
      if (!incoming.readableEnded) fail(new StorageError('Aborted'))
    })
    incoming.on('data', watch).pipe(parser) // the parser sees nothing that is not watched
  })
}

/** The fields that mean something to us, as far as they are there. */
function formFields(fields: Map<string, string>): LateFields {
  const contentType = parseContentType(fields.get('contentType'))
  const cacheControl = cacheControlOf(fields.get('cacheControl'))
  const contentEncoding = fields.get('contentEncoding')
  const userMetadata = metadataFromJson(fields.get('metadata') ?? fields.get('userMetadata'))
  return {
    ...(contentType !== undefined && { contentType }),
    ...(cacheControl !== undefined && { cacheControl }),
    ...(contentEncoding && { contentEncoding: headerValue(contentEncoding) }),
    ...(userMetadata !== undefined && { userMetadata }),
  }
}

/** In bytes, or null for a chunked body. Node has refused what is no number. */
export function declaredLength(incoming: IncomingMessage): number | null {
  const length = incoming.headers['content-length']
  return length === undefined
    ? incoming.headers['transfer-encoding'] === undefined
      ? 0
      : null
    : Number(length)
}

function one(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

function tooLarge(message: string): StorageError {
  return new StorageError('EntityTooLarge', { message })
}

function malformed(message: string, cause?: unknown): StorageError {
  return new StorageError('InvalidRequest', { message, cause })
}

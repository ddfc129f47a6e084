import type { IncomingHttpHeaders } from 'node:http'
import type { UserMetadata } from '../../../model/metadata.ts'
import type { NewLock } from '../../../model/object-lock.ts'
import type { S3Headers } from '../../../storage/object/s3-metadata.ts'
import { tagTexts } from '../../../storage/object/tags.ts'
import { rawContentType } from '../../message/upload-body.ts'
import { headerSent } from '../../message/upload-headers.ts'
import { lockIn } from '../lock-words.ts'
import type { S3Request } from '../request.ts'
import { metadataOf } from './user-metadata.ts'

/** What a request's headers say of the object that it makes, beside its bytes. */
export interface SentContent {
  contentType: string | undefined
  cacheControl: string | undefined
  contentEncoding: string | undefined
  robotsTag: undefined
  userMetadata: UserMetadata
  tags: string[] | undefined
  lock: NewLock | undefined
  headers: S3Headers
}

/** @throws InvalidMimeType, InvalidHeaderChar, MetadataTooLarge, InvalidTag, and as `lockIn` */
export function contentOf(request: S3Request): SentContent {
  return contentIn(request.c.env.incoming.headers)
}

/** The same of headers, or of a form's fields under headers' names. */
export function contentIn(headers: IncomingHttpHeaders): SentContent {
  return {
    contentType: rawContentType(headers['content-type']),
    cacheControl: headerSent(headers['cache-control']),
    contentEncoding: headerSent(withoutChunks(headers['content-encoding'])),
    robotsTag: undefined,
    userMetadata: metadataOf(headers),
    tags: tagsIn(headers['x-amz-tagging']?.toString()),
    lock: lockIn(headers),
    headers: {
      ...kept('contentDisposition', headers['content-disposition']),
      ...kept('contentLanguage', headers['content-language']?.toString()),
      ...kept('expires', headers.expires),
    },
  }
}

function kept(name: keyof S3Headers, header: string | undefined): S3Headers {
  const value = headerSent(header)
  return value === undefined ? {} : { [name]: value }
}

/** `aws-chunked` is how the bytes travel (wire §6.2), and no encoding of the object. */
function withoutChunks(encoding: string | undefined): string | undefined {
  const left = encoding
    ?.split(',')
    .map((coding) => coding.trim())
    .filter((coding) => coding !== '' && coding.toLowerCase() !== 'aws-chunked')
    .join(', ')
  return left === '' ? undefined : left
}

/** Written as a query is. */
function tagsIn(header: string | undefined): string[] | undefined {
  if (header === undefined) return undefined
  return tagTexts([...new URLSearchParams(header)].map(([key, value]) => ({ key, value })))
}

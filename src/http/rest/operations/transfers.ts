import { z } from 'zod'
import type { ErrorCode } from '../../../model/errors.ts'
import { ASSET_TYPES } from '../../../model/object-attributes.ts'
import { signedList, signedListQuery } from '../../auth/signed-list.ts'
import { versionQuery } from '../../message/wanted-version.ts'
import type { AnswerHeader, RequestHeader } from '../../openapi/headers.ts'
import type { Answer, Body, Described, Operation } from '../../openapi/operation.ts'

const bytes = z.string().meta({ format: 'binary' })

/** Wire §3.3. */
export const uploadBody: Body = {
  bytes: {
    'multipart/form-data': z.object({
      file: bytes.describe('The first part that is a file.'),
      contentType: z.string().optional(),
      cacheControl: z.string().optional().describe('Seconds, or the whole value.'),
      contentEncoding: z.string().optional(),
      metadata: z.string().optional().describe('A JSON object: the user metadata.'),
      content_hash: z
        .string()
        .optional()
        .describe('What the file has to have: a SHA-256 in hexadecimal digits.'),
      auto_delete_after_days: z.string().optional().describe('It goes by itself after so many days.'),
      tags: z.string().optional().describe('One, several with commas between them, or an array in JSON.'),
      file_name: z.string().optional(),
      organization_id: z.string().optional().describe('That of the token, or any for the service.'),
      user_id: z.string().optional().describe('Your own, or any for the service.'),
      access_level: z.enum(['private', 'shared']).optional(),
      asset_type: z.enum(ASSET_TYPES).optional(),
      enable_indexing: z.enum(['true', 'false']).optional(),
    }),
    'application/octet-stream': bytes.describe('The bytes, with any type but that of a form.'),
  },
}

/** What an upload may be refused for, however it comes. */
export const UPLOAD_ERRORS: ErrorCode[] = [
  'InvalidRequest',
  'InvalidTags',
  'ObjectAclsDisabled',
  'InvalidRobotsTag',
  'InvalidHeaderChar',
  'InvalidMimeType',
  'InvalidChecksum',
  'EntityTooLarge',
  'PreconditionFailed',
  'NoSuchBucket',
]

export const UPLOAD_HEADERS: RequestHeader[] = [
  'x-metadata',
  'x-robots-tag',
  'x-strongroom-auto-delete-after-days',
  'x-tags',
  'x-strongroom-tags',
  'x-strongroom-file-name',
  'x-strongroom-organization-id',
  'x-strongroom-user-id',
  'x-strongroom-access-level',
  'x-strongroom-asset-type',
  'x-strongroom-enable-indexing',
  'cache-control',
  'content-encoding',
  'x-content-sha256',
  'content-digest',
  'repr-digest',
  'content-md5',
  'if-match',
  'if-none-match',
  'if-unmodified-since',
]

/** @param canReplace whether it may be an object that is there */
export function uploadAnswers(server: Described, json: z.ZodType, canReplace: boolean): Operation['answers'] {
  const answer = (description: string): Answer => ({ description, json })
  if (server.supabaseCompat) return { 200: answer('It is stored.') }
  return {
    201: answer('It is stored.'),
    ...(canReplace && { 200: answer('It has taken the place of another.') }),
  }
}

/** GET and HEAD of an object's bytes (wire §3.5, §3.6, §3.7). */
export function downloadOf(
  { redirects }: Described,
  operation: Pick<Operation, 'id' | 'tag' | 'summary' | 'description' | 'access' | 'errors'> & {
    headId: string
  },
): Operation {
  const { headId, ...rest } = operation
  const isSigned = /signed/i.test(operation.access)
  // From elsewhere than a link may be used.
  const errors: ErrorCode[] = [...(operation.errors ?? []), ...(isSigned ? (['AccessDenied'] as const) : [])]
  const query = z.object({
    download: z.string().optional().describe('Has it saved, by this name if there is one.'),
    // What is signed says itself which version it is.
    ...(!/^signed/.test(operation.access) && versionQuery.shape),
    ...(isSigned && signedListQuery.shape),
  })
  return {
    ...rest,
    query,
    headers: ['range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'],
    answers: {
      200: {
        description: isSigned ? 'The object; with `list=true` what is below a signed folder.' : 'The object.',
        content: { '*/*': bytes, ...(isSigned && { 'application/json': signedList }) },
        ...(isSigned ? { mayCarry: OBJECT_HEADERS } : { headers: OBJECT_HEADERS }),
      },
      206: {
        description: 'A part of it.',
        content: { '*/*': bytes },
        headers: [...OBJECT_HEADERS, 'Content-Range'],
      },
      ...(redirects && { 302: { description: 'Where the store has it.', headers: ['Location'] } }),
      304: { description: 'It is as the client knows it.', headers: NOT_MODIFIED_HEADERS },
    },
    errors: [
      'InvalidRequest',
      'NoSuchBucket',
      'NoSuchKey',
      'NoSuchVersion',
      'MissingBytes',
      'PreconditionFailed',
      'InvalidRange',
      'CorruptedBytes',
      ...(isSigned ? (['LinkExhausted'] as const) : []),
      ...errors,
    ],
    head: headOf(headId, errors),
  }
}

const OBJECT_HEADERS: AnswerHeader[] = [
  'ETag',
  'Last-Modified',
  'Accept-Ranges',
  'Cache-Control',
  'X-Robots-Tag',
  'Content-Disposition',
  'Repr-Digest',
]

/** Of those, what tells a cache that it has the object. */
const NOT_MODIFIED_HEADERS: AnswerHeader[] = ['ETag', 'Last-Modified', 'Cache-Control']

/** HEAD of an object. */
export function headOf(id: string, errors: ErrorCode[] = []): NonNullable<Operation['head']> {
  return {
    id,
    summary: 'The headers of the object, without it',
    headers: ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'],
    answers: {
      200: { description: 'It is there.', headers: OBJECT_HEADERS },
      304: { description: 'It is as the client knows it.', headers: NOT_MODIFIED_HEADERS },
    },
    errors: ['InvalidRequest', 'NoSuchBucket', 'NoSuchKey', 'NoSuchVersion', 'PreconditionFailed', ...errors],
  }
}

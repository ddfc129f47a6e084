import { z } from 'zod'
import { type ErrorCode, StorageError } from '../../model/errors.ts'
import { jsonError } from '../message/json-error.ts'
import type { AnswerHeader } from '../openapi/headers.ts'
import type { Describe, Operation } from '../openapi/operation.ts'
import { tusAnswer } from './protocol.ts'
import type { Variant } from './request.ts'

/** Told in JSON, as everywhere: before an upload is looked at (wire §5.8). */
const OF_LOGIN: ErrorCode[] = ['AuthenticationRequired', 'InvalidToken']

/** What an upload is refused for once it is known which it is. */
const KNOWN: ErrorCode[] = ['UnsupportedTusVersion', 'InvalidUploadId', 'NoSuchUpload', 'UploadGone']

/** What tells how far an upload is. */
const HEAD_HEADERS: AnswerHeader[] = [
  'Cache-Control',
  'Upload-Offset',
  'Upload-Length',
  'Upload-Metadata',
  'Upload-Expires',
  'Tus-Complete',
]

/** What the verbs of one variant do (wire §5). */
export function tusOperations({ isSigned }: Pick<Variant, 'isSigned'>) {
  const tus =
    (operation: Omit<Operation, 'id' | 'tag' | 'access'> & { id: string }): Describe =>
    ({ supabaseCompat }) => ({
      ...operation,
      id: isSigned ? `${operation.id}Signed` : operation.id,
      tag: 'Resumable uploads',
      access: isSigned ? 'uploadToken' : 'token',
      path: { id: 'The last part of `Location`.' },
      headers: ['tus-resumable', ...(operation.headers ?? [])],
      always: ['Tus-Resumable'],
      say: (code) => {
        const error = new StorageError(code)
        return OF_LOGIN.includes(code)
          ? jsonError(error, undefined, supabaseCompat)
          : tusAnswer(error, undefined, operation.method === 'HEAD')
      },
    })
  const bytes: Operation['body'] = {
    bytes: { 'application/offset+octet-stream': z.string().meta({ format: 'binary' }) },
  }
  const chunk: Omit<Operation, 'id' | 'tag' | 'access'> & { id: string } = {
    id: 'appendToUpload',
    summary: 'Appends a chunk',
    headers: ['upload-offset', 'upload-length', 'upload-checksum'],
    body: bytes,
    answers: {
      204: {
        description: 'It is on the disk. With the last byte the object is there.',
        headers: ['Upload-Offset', 'Upload-Expires', 'Tus-Complete'],
      },
    },
    errors: [
      ...KNOWN,
      'InvalidRequest',
      'OffsetConflict',
      'UploadFinished',
      'ChecksumMismatch',
      'EntityTooLarge',
      'AccessDenied',
    ],
  }
  return {
    create: tus({
      id: 'createUpload',
      summary: 'Begins an upload, perhaps with its first chunk',
      headers: [
        ...(isSigned ? [] : (['x-upsert'] as const)),
        'upload-length',
        'upload-defer-length',
        'upload-metadata',
        'upload-checksum',
        'if-match',
        'if-none-match',
        'if-unmodified-since',
      ],
      answers: {
        201: {
          description: 'It has begun; `Location` is where it goes on.',
          headers: ['Location', 'Upload-Expires', 'Tus-Complete'],
          mayCarry: ['Upload-Offset'],
        },
      },
      errors: [
        'UnsupportedTusVersion',
        'NotImplemented',
        'InvalidRequest',
        'InvalidMimeType',
        'InvalidChecksum',
        'EntityTooLarge',
        'NoSuchBucket',
        'KeyAlreadyExists',
        'PreconditionFailed',
        ...(isSigned ? [] : (['InvalidKey', 'AccessDenied', 'TooManyUnfinished'] as const)),
      ],
    }),
    find: tus({
      id: 'findUpload',
      method: 'HEAD',
      summary: 'How far an upload is',
      answers: {
        200: {
          description: 'It goes on at `Upload-Offset`.',
          headers: HEAD_HEADERS,
        },
      },
      errors: [...KNOWN, 'AccessDenied'],
    }),
    append: tus(chunk),
    terminate: tus({
      id: 'terminateUpload',
      summary: 'Ends an upload that nobody will go on with',
      answers: { 204: { description: 'Nothing of it is left.' } },
      errors: [...KNOWN, 'InvalidRequest', 'AccessDenied'],
    }),
    override: tus({
      id: 'overrideMethod',
      summary: 'What `X-HTTP-Method-Override` says',
      description:
        'For networks that let no other method through. Answers are those of the method that is meant; errors of HEAD, too.',
      headers: ['x-http-method-override'],
      answers: {
        200: { description: 'As by HEAD.', headers: HEAD_HEADERS },
        204: {
          description: 'As by PATCH and DELETE.',
          mayCarry: ['Upload-Offset', 'Upload-Expires', 'Tus-Complete'],
        },
      },
      errors: [...KNOWN, 'AccessDenied'],
    }),
  }
}

import type { ErrorRow } from '../../model/error-table.ts'
import { ERROR_TABLE } from '../../model/error-table.ts'
import type { ErrorCode, StorageError } from '../../model/errors.ts'
import { sentenceFor } from '../message/json-error.ts'
import type { ErrorAnswer, RequestContext } from '../surface.ts'
import { pathBelow } from './address.ts'
import { REGION_HEADER } from './signature/scope.ts'
import { answerDocument, type Document } from './xml-writer.ts'

/** Where S3's word is another than the one in the table of errors (wire §6.9). Clients compare these. */
const WORDS: Partial<Record<ErrorCode, string>> = {
  Aborted: 'IncompleteBody',
  AuthenticationRequired: 'AccessDenied',
  AuthenticationUnavailable: 'ServiceUnavailable',
  BackendUnavailable: 'ServiceUnavailable',
  DatabaseReadOnly: 'ServiceUnavailable',
  DatabaseTimeout: 'ServiceUnavailable',
  DatabaseUnavailable: 'ServiceUnavailable',
  HeadersTooLarge: 'RequestHeaderSectionTooLarge',
  InvalidKey: 'InvalidArgument',
  InvalidMimeType: 'InvalidArgument',
  InvalidParameter: 'InvalidArgument',
  InvalidHeaderChar: 'InvalidArgument',
  InvalidRobotsTag: 'InvalidArgument',
  KeyAlreadyExists: 'PreconditionFailed',
  LockTimeout: 'SlowDown',
  MethodNotAllowed: 'MethodNotAllowed',
  MismatchedMimeType: 'InvalidArgument',
  MissingInRule: 'InvalidRequest',
  NotImplemented: 'NotImplemented',
  ObjectLocked: 'AccessDenied',
  PreconditionFailed: 'PreconditionFailed',
  RefusedByRule: 'InvalidRequest',
  RequestTimeout: 'RequestTimeout',
  ResourceLocked: 'OperationAborted',
  ResourceNotEmpty: 'BucketNotEmpty',
  StorageFull: 'StorageFull',
  TransactionConflict: 'ConditionalRequestConflict',
  UniqueInRule: 'InvalidRequest',
  UnknownTransferCoding: 'NotImplemented',
}

/** Where S3 has another status. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  AuthenticationRequired: 403,
  ExpiredToken: 400,
  InvalidToken: 400,
  ObjectLocked: 403,
  KeyAlreadyExists: 412,
  // As with Amazon: by this one even clients that do not look for the word come again.
  SlowDown: 503,
  TooManyUploadsOfOneClient: 503,
  UploadGone: 404,
}

/** Headers that are another protocol's. */
const OTHERS_HEADERS = 'WWW-Authenticate'

/** An error in XML, with the true status (wire §6.9). A HEAD's answer has no body, which is Node's matter. */
export function s3Error(error: StorageError, request: RequestContext | undefined): ErrorAnswer {
  const { [OTHERS_HEADERS]: _challenge, ...headers } = error.headers
  const region = headers[REGION_HEADER]
  const { type, text } = errorDocument(s3Code(error.code), sentenceOf(error, request), request, region)
  return {
    status: STATUS[error.code] ?? error.status,
    headers: { 'Content-Type': type, ...headers },
    body: text,
  }
}

/** A key that is legal with S3 and not here is refused with the rule that it breaks. */
function sentenceOf(error: StorageError, request: RequestContext | undefined): string {
  const sentence = sentenceFor(error, request)
  const { code, cause } = error
  return code === 'InvalidKey' && cause instanceof Error ? `${sentence}: ${cause.message}` : sentence
}

/** In the order of wire §6.9. @param region which the request should have been for */
export function errorDocument(
  code: string,
  message: string,
  request: RequestContext | undefined,
  region?: string,
): Document {
  return answerDocument(request?.incoming.headers.accept, 'Error', {
    Resource: request ? pathBelow(request.target.path) : undefined,
    Code: code,
    Message: message,
    Region: region,
    RequestId: request?.requestId,
  })
}

/** What S3 calls an error. */
export function s3Code(code: ErrorCode): string {
  const row: ErrorRow = ERROR_TABLE[code]
  return WORDS[code] ?? row.wireCode ?? code
}

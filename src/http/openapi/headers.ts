/** Headers of requests that operations name, and what they mean. */
export const REQUEST_HEADERS = {
  'x-upsert': '`true`: an object of that name may be replaced.',
  'x-version-comment': 'Said of the version, in up to 1000 characters of UTF-8 or Latin-1.',
  'x-metadata': 'Base64 of a JSON object: the user metadata.',
  'x-robots-tag': 'Checked, stored, and sent with downloads.',
  'x-strongroom-auto-delete-after-days': 'It goes by itself after so many days, 1 to 36500.',
  'x-tags': 'Words with commas between them, or an array in JSON. The same as `x-strongroom-tags`.',
  'x-strongroom-tags': 'Words with commas between them, or an array in JSON.',
  'x-strongroom-file-name': 'How the file is called, in UTF-8 or Latin-1.',
  'x-strongroom-organization-id':
    'To which organisation it belongs: that of the token, or any for the service.',
  'x-strongroom-user-id': 'Whose it is: your own, or anybody’s for the service.',
  'x-strongroom-access-level': '`private` or `shared`.',
  'x-strongroom-asset-type': '`image`, `document`, `map`, `audio`, `video` or `other`.',
  'x-strongroom-enable-indexing': '`true` or `false`, for who hears of it.',
  'x-file-name': 'How the file is called, in UTF-8 or Latin-1. Of raw bytes; a form says it by itself.',
  'idempotency-key':
    'Up to 255 characters of printable ASCII. For a day the same key and request are the same answer; another request is 409.',
  'x-share-token': 'The token of a share.',
  'x-share-password': 'The password of a share.',
  'cache-control': 'Stored, and sent with downloads. Of raw bytes; a form has a field for it.',
  'content-encoding': 'Stored, and sent with downloads. Of raw bytes; a form has a field for it.',
  'x-content-sha256':
    'What the bytes have to have: a SHA-256 in hexadecimal digits; else 400 `InvalidChecksum`.',
  'content-digest': 'The same in a dictionary (RFC 9530): `sha-256=:…:`, `sha-512`, `md5`. Of raw bytes.',
  'repr-digest': 'The same as `Content-Digest`. Of raw bytes.',
  'content-md5': 'The same as the base64 of an MD5. Of raw bytes.',
  'if-match': 'Entity tags, or `*` (RFC 9110 §13.1.1): else 412.',
  'if-none-match': 'Entity tags, or `*` (RFC 9110 §13.1.2): 304 for a read, 412 for a write.',
  'if-modified-since': 'A date (RFC 9110 §13.1.3): 304.',
  'if-unmodified-since': 'A date (RFC 9110 §13.1.4): else 412.',
  'if-range': 'An entity tag, or a date: otherwise `Range` means nothing.',
  range: 'One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-5`.',
  accept: '`application/json` for JSON.',
  'last-event-id': 'The last event that was heard: those after it are sent first.',
  'tus-resumable': '`1.0.0`.',
  'upload-length': 'Of the whole, in bytes.',
  'upload-defer-length': '`1`: the length will come with a chunk.',
  'upload-metadata':
    '`key base64, …`: `bucketName`, `objectName`; `contentType`, `cacheControl`, `metadata` (a JSON object), `content_hash` (a SHA-256 in hexadecimal digits), and the fields of `x-strongroom-…`, such as `tags`.',
  'upload-offset': 'Where the chunk begins, in bytes.',
  'upload-checksum':
    '`<algorithm> <base64>`: sha1, sha256 or md5 of the chunk, which is kept only if it is right.',
  'x-http-method-override': '`HEAD`, `PATCH` or `DELETE`: what is meant.',
} as const
export type RequestHeader = keyof typeof REQUEST_HEADERS

/** Without these a request is refused. */
export const NEEDED_HEADERS = new Set<RequestHeader>([
  'tus-resumable',
  'upload-offset',
  'x-http-method-override',
])

/** Headers of answers, and what they mean. */
export const ANSWER_HEADERS = {
  ETag: 'Strong, with its quotes.',
  'Last-Modified': 'When the bytes were stored.',
  'Accept-Ranges': '`bytes`',
  'Cache-Control': 'As it was stored with the object; `no-store` of what is not to be kept.',
  'Repr-Digest': '`sha-256=:…:`: of the whole object as it is stored, of a part of it too (RFC 9530).',
  'X-Robots-Tag': 'As it was stored with the object, or `none`.',
  'Content-Range': 'Which bytes these are.',
  'Content-Disposition': 'For `?download`.',
  Location: 'An absolute address.',
  'Upload-Offset': 'Bytes that are on the disk.',
  'Upload-Length': 'Of the whole, in bytes; absent while `Upload-Defer-Length: 1`.',
  'Upload-Metadata': 'As it was said when the upload began.',
  'Upload-Expires': 'Until when the upload stays if nothing more comes; absent once it is complete.',
  'Tus-Complete': '`1` once the object is there.',
  'Tus-Resumable': '`1.0.0`',
  RateLimit:
    'How many requests of this kind the client has left, and when it has all again, in seconds: `"read";r=9;t=1`.',
  'RateLimit-Policy': 'How many it has in how many seconds: `"read";q=100;w=10`.',
  'Idempotent-Replayed': '`true`: it was answered so before.',
  'Retry-After': 'After so many seconds it may be otherwise.',
  'WWW-Authenticate': '`Bearer`',
} as const
export type AnswerHeader = keyof typeof ANSWER_HEADERS

/** Which of them an answer may lack. */
export const OPTIONAL_HEADERS = new Set<AnswerHeader>([
  'Content-Disposition',
  'Cache-Control',
  'Repr-Digest',
  'RateLimit',
  'RateLimit-Policy',
  'Upload-Length',
  'Upload-Metadata',
  'Upload-Expires',
  'Tus-Complete',
])

/** Which of them say what is left of a rate (STORAGE_RATE_LIMIT_…), to whoever has one. */
export const RATE_HEADERS: AnswerHeader[] = ['RateLimit', 'RateLimit-Policy']

/** All of them. */
export const ANSWER_HEADER_NAMES = Object.keys(ANSWER_HEADERS) as AnswerHeader[]

/** A header of answers, as the document has it. */
export function headerJson(name: AnswerHeader, required: boolean): Record<string, unknown> {
  return { description: ANSWER_HEADERS[name], required, schema: { type: 'string' } }
}

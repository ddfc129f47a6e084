/**
 * Why something is refused that is neither wrong nor forbidden: the server has no room for it, its client has as much as one may
 * have at once, or its client has asked too often in a while.
 */
export type Refusal = 'room' | 'share' | 'rate'

/** A row of the table of errors. */
export interface ErrorRow {
  /** The true HTTP status, and the body's `statusCode`. */
  status: number
  /** The body's `error`; the code itself when absent (wire §1.5). */
  label?: string
  message: string
  /** The body's `code`, where two rows share one (wire §1.7). */
  wireCode?: string
  /** Response headers that always go with it. */
  headers?: Record<string, string>
  /** Of what is counted as refused. */
  refusal?: Refusal
  /** What differs under STORAGE_COMPAT=supabase. `http` is the status sent, else 400, or 500 for 500 (wire §1.6). */
  compat?: { http?: number; status?: number; label?: string; wireCode?: string; message?: string }
}

/** What is unavailable now comes back by itself; in seconds (RFC 9110 §10.2.3). */
const RETRY = { 'Retry-After': '2' }

/**
 * Every error a client can get, in one table (design §8, wire §1.7), by the codes by which `StorageError` is thrown.
 */
export const ERROR_TABLE = {
  // What was asked for is not there.
  NoSuchBucket: { status: 404, label: 'Bucket not found', message: 'Bucket not found' },
  NoSuchKey: { status: 404, label: 'not_found', message: 'Object not found' },
  /** The row exists but its bytes are gone: drift, worth an operator's look. */
  MissingBytes: {
    status: 404,
    label: 'Not found',
    message: 'Object not found',
    wireCode: 'NoSuchKey',
    headers: { 'Cache-Control': 'no-store' },
  },
  NoSuchVersion: {
    status: 404,
    label: 'not_found',
    message: 'Version not found',
    compat: { wireCode: 'NoSuchKey', message: 'Object not found' },
  },
  NoSuchLifecyclePolicy: { status: 404, message: 'There is no such lifecycle policy' },
  NoSuchLifecycleConfiguration: { status: 404, message: 'The lifecycle configuration does not exist' },
  NoSuchTrashItem: { status: 404, message: 'There is no such thing in the trash' },
  NoSuchWebhook: { status: 404, message: 'There is no such webhook' },
  NoSuchCredential: { status: 404, message: 'There is no such access key' },
  NoSuchShare: { status: 404, message: 'There is no such share, or it is over' },
  NoSuchBackup: { status: 404, message: 'There is no such backup' },
  NoSuchDeadLetter: { status: 404, message: 'There is no such dead letter' },
  NoSuchRoute: {
    status: 404,
    label: 'Not Found',
    message: 'There is no such route',
    wireCode: 'InvalidRequest',
    compat: { http: 404 },
  },
  MethodNotAllowed: {
    status: 405,
    label: 'Method Not Allowed',
    message: 'This route does not answer this method',
    wireCode: 'InvalidRequest',
    compat: { http: 404, status: 404, label: 'Not Found' },
  },

  // The request is malformed.
  InvalidRequest: { status: 400, label: 'Error', message: 'The request is malformed' },
  InvalidParameter: { status: 400, message: 'A parameter is out of range or malformed' },
  InvalidBucketName: { status: 400, label: 'Invalid Input', message: 'Bucket name invalid' },
  InvalidKey: { status: 400, message: 'Invalid key' },
  InvalidTag: { status: 400, message: 'A tag is not valid' },
  /** As everybody but S3 says them. */
  InvalidTags: { status: 400, message: 'The tags are not valid' },
  InvalidRobotsTag: {
    status: 400,
    label: 'invalid_x_robots_tag',
    message: 'The x-robots-tag header is not valid',
    wireCode: 'InvalidRequest',
  },
  InvalidHeaderChar: {
    status: 400,
    label: 'invalid_header_char',
    message: 'A value cannot be sent back as a header',
    wireCode: 'InvalidRequest',
  },
  InvalidRange: {
    status: 416,
    label: 'invalid_range',
    message: 'The range cannot be satisfied',
    compat: { http: 416 },
  },
  PreconditionFailed: {
    status: 412,
    message: 'A precondition of the request does not hold',
    wireCode: 'InvalidRequest',
    compat: { http: 412 },
  },
  InvalidMimeType: { status: 415, label: 'invalid_mime_type', message: 'mime type is not supported' },
  /** To clients it is the same; the log tells them apart (decision 0069). */
  MismatchedMimeType: {
    status: 415,
    label: 'invalid_mime_type',
    message: 'The bytes are not what their mime type says',
    wireCode: 'InvalidMimeType',
  },
  EntityTooLarge: {
    status: 413,
    label: 'Payload too large',
    message: 'The object exceeded the maximum allowed size',
  },
  BodyTooLarge: {
    status: 413,
    label: 'Payload too large',
    message: 'The request body is too large',
    wireCode: 'EntityTooLarge',
  },
  /** What Node's parser refuses never gets to a route: `http-server.ts` answers. */
  NotHttp: {
    status: 400,
    label: 'Bad Request',
    message: 'The request is not valid HTTP',
    wireCode: 'InvalidRequest',
  },
  UnknownTransferCoding: {
    status: 501,
    label: 'Not Implemented',
    message: 'No Transfer-Encoding but chunked is supported',
    wireCode: 'InvalidRequest',
    compat: { http: 501 },
  },
  HeadersTooLarge: {
    status: 431,
    label: 'Request Header Fields Too Large',
    message: 'The request headers are too large',
    wireCode: 'InvalidRequest',
    compat: { http: 431 },
  },
  RequestTimeout: {
    status: 408,
    label: 'Request Timeout',
    message: 'The request did not come in time',
    wireCode: 'InvalidRequest',
    headers: { Connection: 'close' }, // nothing more is waited for (RFC 9110 §15.5.9)
    compat: { http: 408 },
  },
  /** The body ended early, or the client went away. Nobody may be left to read it (wire §1.6). */
  Aborted: {
    status: 400,
    label: 'Error',
    message: 'The request ended before its body was complete',
    wireCode: 'InvalidRequest',
    compat: { http: 499, status: 500, label: 'Aborted', wireCode: 'Aborted' },
  },

  // Who asks.
  AuthenticationRequired: {
    status: 401,
    label: 'Unauthorized',
    message: 'Authentication is needed: send a token in the authorization header',
    headers: { 'WWW-Authenticate': 'Bearer' },
    compat: {
      status: 400,
      label: 'Error',
      wireCode: 'InvalidRequest',
      message: "headers must have required property 'authorization'",
    },
  },
  /** The same on routes where the original demands no header, and finds the token missing (wire §1.4). */
  TokenRequired: {
    status: 401,
    label: 'Unauthorized',
    message: 'Authentication is needed: send a token in the authorization header',
    wireCode: 'AuthenticationRequired',
    headers: { 'WWW-Authenticate': 'Bearer' },
    compat: { status: 403, wireCode: 'AccessDenied' },
  },
  InvalidToken: {
    status: 401,
    label: 'Unauthorized',
    message: 'The token is not valid',
    compat: { status: 403, wireCode: 'AccessDenied' },
  },
  AccessDenied: {
    status: 403,
    label: 'Unauthorized',
    message: 'new row violates row-level security policy',
  },
  ObjectAclsDisabled: {
    status: 403,
    message: 'Objects of this bucket are not opened one by one: access_level must be private or shared',
  },
  /** The route is for another role. One of the few true statuses of the original (wire §1.4). */
  RoleNotAllowed: {
    status: 403,
    label: 'Unauthorized',
    message: 'This needs the service_role key',
    wireCode: 'AccessDenied',
    compat: { http: 403 },
  },
  /** A browser's page from elsewhere than STORAGE_CORS_ORIGINS: of a WebSocket the browser itself asks nobody. */
  OriginNotAllowed: {
    status: 403,
    label: 'Forbidden',
    message: 'Pages of this origin may not connect',
    wireCode: 'AccessDenied',
    compat: { http: 403 },
  },
  /** Of S3 clients (decision 0048). S3 has one word for all access keys that are of no use. */
  AccessKeyExpired: {
    status: 403,
    message: 'The access key has expired',
    wireCode: 'InvalidAccessKeyId',
  },
  AccessKeyUnreadable: {
    status: 403,
    message:
      'The secret of the access key was sealed with another STORAGE_SIGNING_SECRET than this server has: set that one as ' +
      'STORAGE_SIGNING_SECRET_PREVIOUS, or make another access key',
    wireCode: 'InvalidAccessKeyId',
  },

  // Signed URLs (design §7).
  InvalidJWT: { status: 403, message: 'The signed URL token is not valid', compat: { status: 400 } },
  ExpiredToken: {
    status: 410,
    message: 'The signed URL has expired',
    compat: {
      status: 400,
      wireCode: 'InvalidJWT',
      label: 'InvalidJWT',
      message: '"exp" claim timestamp check failed',
    },
  },
  InvalidSignature: {
    status: 403,
    message: 'The signed URL token is for something else',
    compat: { status: 400 },
  },
  LinkRevoked: {
    status: 410,
    message: 'The signed URL was revoked',
    compat: { status: 400, wireCode: 'InvalidJWT', label: 'InvalidJWT' },
  },
  LinkExhausted: { status: 403, message: 'The signed URL has been used as often as it may be' },
  ShareSecretRequired: {
    status: 401,
    message: 'This share asks for a secret: its password, or its token',
  },
  InvalidShareSecret: { status: 401, message: 'The secret of the share is wrong' },
  /** Of one share: nobody finds its password by trying. */
  TooManyShareSecrets: {
    status: 429,
    message: 'Too many wrong secrets of this share; come back in a minute',
    wireCode: 'SlowDown',
    refusal: 'rate',
    compat: { http: 429 },
    headers: { 'Retry-After': '60' },
  },
  ShareExhausted: { status: 403, message: 'The share has been downloaded as often as it may be' },
  ShareForbids: { status: 403, message: 'The share does not allow this' },
  TooManyShares: {
    status: 409,
    message: 'You have as many active shares as one may have: revoke some of them',
  },
  TooManyRevocations: {
    status: 409,
    message:
      'You have revoked as many signed URLs one by one as are remembered: revoke those of an object, or all that you have ' +
      'signed before a moment, at once',
  },

  // Signatures of S3 (wire §6.2).
  SignatureDoesNotMatch: {
    status: 403,
    message:
      'The signature is not the one that this server calculates: check the secret, the address that the client signs for, ' +
      'and whether something on the way changes the request',
  },
  InvalidAccessKeyId: { status: 403, message: 'There is no such access key' },
  RequestTimeTooSkewed: { status: 403, message: "The request's time is too far from the server's" },
  /** The place of a signature, or what it says it is for, is malformed. */
  InvalidAuthorization: {
    status: 400,
    message: 'The authorization is malformed',
    wireCode: 'AuthorizationHeaderMalformed',
  },
  /** The same of a presigned URL. */
  InvalidPresignedUrl: {
    status: 400,
    message: 'The presigned URL is malformed',
    wireCode: 'AuthorizationQueryParametersError',
  },
  /** The chunks in which a body comes are none, or others than were announced. */
  MalformedChunks: {
    status: 400,
    message: 'The aws-chunked body is malformed; it was not kept',
    wireCode: 'IncompleteBody',
  },
  MalformedTrailer: {
    status: 400,
    message: 'What stands behind the last chunk of the body is missing or malformed; nothing was kept',
    wireCode: 'MalformedTrailerError',
  },
  /** The bytes are not those that were signed. */
  ContentHashMismatch: {
    status: 400,
    message: 'The body is not the one that x-amz-content-sha256 was made of; it was not kept',
    wireCode: 'XAmzContentSHA256Mismatch',
  },
  InvalidPolicyDocument: { status: 400, message: "The form's policy is malformed" },
  /** Of Content-MD5, or of a checksum. */
  BadDigest: {
    status: 400,
    message: 'The Content-MD5 you specified did not match what was received; nothing was kept',
  },
  InvalidDigest: { status: 400, message: 'The Content-MD5 you specified is not valid' },
  MetadataTooLarge: {
    status: 400,
    message: 'Your metadata headers exceed the maximum allowed metadata size of 2048 bytes',
  },
  InvalidPartNumber: { status: 416, message: 'The object has no part of that number' },
  InvalidStorageClass: { status: 400, message: 'The only storage class is STANDARD' },
  NoAcls: {
    status: 400,
    message: 'Objects have no ACLs here: the policy of their bucket says who may read them',
    wireCode: 'AccessControlListNotSupported',
  },
  MalformedXML: { status: 400, message: 'The body is not the XML that is expected here' },

  // The state of things forbids it.
  KeyAlreadyExists: { status: 409, label: 'Duplicate', message: 'The resource already exists' },
  BucketAlreadyExists: { status: 409, label: 'Duplicate', message: 'The resource already exists' },
  ResourceAlreadyExists: { status: 409, label: 'Duplicate', message: 'The resource already exists' },
  ResourceNotEmpty: { status: 409, message: 'The bucket is not empty' },
  /** Of S3: a bucket's versions cannot be switched so. */
  IllegalVersioningConfiguration: {
    status: 400,
    message: 'The versions of a bucket cannot be switched so',
    wireCode: 'IllegalVersioningConfigurationException',
  },
  InvalidBucketState: { status: 409, message: 'The bucket is one for which this cannot be' },
  /** A version that is kept for a time, or until somebody says otherwise. */
  ObjectLocked: { status: 409, message: 'The version is locked' },
  ResourceReferenced: { status: 409, message: 'It is still referenced' },
  /** Between an object and its bucket: which of the two is missed depends on what is done. */
  BucketReference: { status: 409, message: 'The bucket is still in use', wireCode: 'ResourceReferenced' },
  // What users' own policies, triggers and constraints say (database/connection/users-rules.ts).
  /** They have raised it for the client, perhaps with a status of their own; or the values break a rule of theirs. */
  RefusedByRule: {
    status: 400,
    message: 'A policy, trigger or constraint of the database refuses the request',
    wireCode: 'DatabaseError',
    compat: { http: 500, status: 500 },
  },
  /** Something is there twice, but not what was asked for: no client may take that for its file. */
  UniqueInRule: {
    status: 400,
    message: 'A unique constraint of the database refuses the request',
    wireCode: 'DatabaseError',
    compat: { status: 409 },
  },
  MissingInRule: {
    status: 400,
    message: 'A reference of the database refuses the request',
    wireCode: 'DatabaseError',
    compat: { status: 404, wireCode: 'InvalidRequest' },
  },
  SkippedByTrigger: {
    status: 403,
    label: 'Unauthorized',
    message: 'A trigger of the database has left it out; nothing is stored',
    wireCode: 'AccessDenied',
  },
  KeptByRule: {
    status: 403,
    label: 'Unauthorized',
    message: 'The policies or triggers of the database keep it as it is',
    wireCode: 'AccessDenied',
  },
  BackupRunning: { status: 409, message: 'A backup or a restore is under way already' },
  BackupInUse: { status: 409, message: 'Another backup builds on this one, or it is being restored' },
  BackupIncomplete: { status: 409, message: 'Only a backup that was completed can be restored' },
  IdempotencyKeyReused: { status: 409, message: 'This Idempotency-Key was used for another request' },
  /** The first one is at work, or has died a moment ago. */
  IdempotencyKeyInUse: {
    status: 409,
    message: 'A request with this Idempotency-Key is under way; ask again soon',
    headers: RETRY,
  },
  /** Of one caller, in a day: without a key, or with those that he has, he goes on. */
  TooManyIdempotencyKeys: {
    status: 429,
    message:
      'One caller may not use so many keys in a day; send the request without Idempotency-Key, or try again later',
    wireCode: 'SlowDown',
    refusal: 'share',
    compat: { http: 429 },
    headers: RETRY,
  },
  FeatureNotEnabled: { status: 409, message: 'This is not enabled here' },
  WebhookFromSettings: {
    status: 409,
    message: 'This webhook comes from STORAGE_WEBHOOKS; change it there',
    wireCode: 'InvalidRequest',
  },
  TransactionConflict: {
    status: 409,
    message: 'Another request changed the same thing at the same moment; try again',
    wireCode: 'TransactionError',
  },
  /** Nothing was heard of an upload for the grace period, so that a cleanup removed what there was of it. */
  UploadExpired: {
    status: 503,
    message: 'The upload took too long to be finished and was given up; send it again',
    wireCode: 'SlowDown',
    headers: RETRY,
  },
  UpgradeRequired: {
    status: 426,
    label: 'Upgrade Required',
    message: 'This is the address of a WebSocket',
    wireCode: 'InvalidRequest',
    headers: { Connection: 'Upgrade', Upgrade: 'websocket' },
    compat: { http: 426 },
  },
  NotImplemented: { status: 501, message: 'This is not supported', wireCode: 'InvalidRequest' },
  /** The label too, since realtime-js shows that. */
  NoBroadcasts: {
    status: 501,
    label: "Clients' broadcasts are not passed on",
    message: "Clients' broadcasts are not passed on: channels only tell what happens to files",
    wireCode: 'InvalidRequest',
    compat: { http: 501 },
  },
  ResourceLocked: { status: 423, message: 'The resource is locked' },

  // Resumable uploads (wire §5.8), told in plain text.
  UnsupportedTusVersion: {
    status: 412,
    message: 'Tus-Resumable: 1.0.0 is required',
    wireCode: 'InvalidRequest',
    headers: { 'Tus-Version': '1.0.0' },
  },
  InvalidUploadId: { status: 400, message: 'The upload id is malformed' },
  NoSuchUpload: { status: 404, message: 'There is no such upload' },
  UploadGone: { status: 410, message: 'The upload has expired or was removed', wireCode: 'NoSuchUpload' },
  UploadFinished: { status: 409, message: 'The upload is finished', wireCode: 'InvalidRequest' },
  OffsetConflict: { status: 409, message: 'Upload-Offset conflict', wireCode: 'InvalidRequest' },
  /** Of a hash that was declared of all of them. */
  InvalidChecksum: {
    status: 400,
    message: 'The bytes do not have the hash that was declared; nothing was kept',
  },
  ChecksumMismatch: {
    status: 460,
    message: 'The bytes are not those of Upload-Checksum; they were not kept',
    wireCode: 'InvalidChecksum',
  },
  // Uploads in parts (wire §6.3).
  MissingContentLength: { status: 411, message: 'The length of a part must be said before its bytes' },
  InvalidPart: {
    status: 400,
    message: 'A part was not uploaded, or is not the one that is meant',
  },
  InvalidPartOrder: { status: 400, message: 'The parts must be named in ascending order, each once' },
  EntityTooSmall: { status: 400, message: 'A part is smaller than 5 MiB, and not the last one' },
  /** A version is being made of its parts. */
  OperationAborted: {
    status: 409,
    message: 'The parts of this upload are being put together; none can be added any more',
  },

  /** A running request is ended, so that its client goes on somewhere else. */
  ShuttingDown: {
    status: 503,
    message: 'The server is shutting down; go on in a moment',
    wireCode: 'SlowDown',
    headers: RETRY,
  },
  /** More requests at once than this server takes, or more connections. Proxies and clients know 503 as that. */
  ServerBusy: {
    status: 503,
    message: 'The server has too many requests at once; try again soon',
    wireCode: 'SlowDown',
    refusal: 'room',
    compat: { http: 503 },
    headers: RETRY,
  },
  TooManyUploads: {
    status: 503,
    message: 'Too many uploads at once; try again soon',
    wireCode: 'SlowDown',
    refusal: 'room',
    compat: { http: 503 },
    headers: RETRY,
  },
  /** Of one caller; clients of TUS give up at once, for waiting does not help. */
  TooManyUnfinished: {
    status: 429,
    message: 'Too many unfinished uploads, or too large ones together: finish or end some of them first',
    wireCode: 'SlowDown',
    refusal: 'share',
    compat: { http: 429 },
  },
  /** Of one client, while others have room. */
  TooManyUploadsOfOneClient: {
    status: 429,
    message:
      'One client may not have so many uploads under way; finish some of them first, or try again soon',
    wireCode: 'SlowDown',
    refusal: 'share',
    compat: { http: 429 },
    headers: RETRY,
  },
  /** Of one client, in a while (decision 0063). */
  SlowDown: {
    status: 429,
    message: 'Too many requests; come back when Retry-After says',
    refusal: 'rate',
    compat: { http: 429 },
  },
  TooManyQuestions: {
    status: 503,
    message: 'Too many lists and statistics are asked for at once; try again soon',
    wireCode: 'SlowDown',
    refusal: 'room',
    compat: { http: 503 },
    headers: RETRY,
  },
  LockTimeout: {
    status: 503,
    message: 'acquiring lock timeout',
    wireCode: 'LockTimeout',
    headers: RETRY,
  },

  // The server, the database or the disk.
  DatabaseUnavailable: {
    status: 503,
    message: 'The database is not available; try again soon',
    wireCode: 'DatabaseError',
    compat: { http: 544, status: 544, wireCode: 'DatabaseTimeout' },
    headers: RETRY,
  },
  DatabaseTimeout: {
    status: 503,
    message: 'The database did not answer in time',
    compat: { http: 544, status: 544 },
    headers: RETRY,
  },
  TooManySubscribers: {
    status: 503,
    message: 'Too many subscribers are connected; try again soon',
    wireCode: 'SlowDown',
    refusal: 'room',
    compat: { http: 503 },
    headers: RETRY,
  },
  /** Of one subject, or one address: others have room. */
  TooManyOfOneCaller: {
    status: 429,
    message: 'One caller may not listen so many times; close others first, or try again soon',
    wireCode: 'SlowDown',
    refusal: 'share',
    compat: { http: 429 },
    headers: RETRY,
  },
  TooManyConnections: {
    status: 503,
    label: 'too_many_connections',
    message: 'Too many database connections; try again soon',
    wireCode: 'SlowDown',
    refusal: 'room',
    compat: { http: 429, status: 429 },
    headers: RETRY,
  },
  DatabaseReadOnly: { status: 503, message: 'The database is read-only', headers: RETRY },
  DatabaseSchemaMismatch: {
    status: 500,
    message: 'A policy or trigger in the database refers to something that does not exist',
    compat: { status: 503 },
  },
  DatabaseInvalidObjectDefinition: {
    status: 500,
    message: 'A policy in the database is recursive',
    compat: { status: 503 },
  },
  BackendUnavailable: {
    status: 503,
    message: 'The file store is not available; try again soon',
    wireCode: 'S3Error',
    headers: RETRY,
  },
  /** The store does not take our credentials, or lacks our bucket: an operator's matter, told in the log. */
  BackendRefused: {
    status: 500,
    message: 'The file store refuses the server',
    wireCode: 'InternalError',
  },
  AuthenticationUnavailable: {
    status: 503,
    message: 'The keys that verify tokens cannot be fetched; try again soon',
    wireCode: 'SlowDown',
    headers: RETRY,
  },
  /** The bytes are not those that were uploaded; the client must not take them for good. */
  CorruptedBytes: {
    status: 500,
    message: 'The stored bytes are damaged; they have not been sent',
    wireCode: 'InternalError',
  },
  StorageFull: {
    status: 507,
    message: 'There is no space left to store the object',
    wireCode: 'InternalError',
  },
  DatabaseError: { status: 500, message: 'The database refused the request' },
  InternalError: { status: 500, message: 'Something went wrong on our side' },
} as const satisfies Record<string, ErrorRow>

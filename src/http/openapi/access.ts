import type { ErrorCode } from '../../model/errors.ts'

/** Ways to say who asks. */
export const SECURITY_SCHEMES = {
  bearer: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'A JWT of this server, or one of its opaque keys.',
  },
  apikey: {
    type: 'apiKey',
    in: 'header',
    name: 'apikey',
    description: 'The same, where there is no `Authorization`.',
  },
  apikeyInQuery: {
    type: 'apiKey',
    in: 'query',
    name: 'apikey',
    description: 'The same, for an EventSource, which can send no headers.',
  },
  signedUrl: {
    type: 'apiKey',
    in: 'query',
    name: 'token',
    description: 'The token of a signed URL. `expires` beside it has to be its time, by default.',
  },
  uploadToken: {
    type: 'apiKey',
    in: 'header',
    name: 'x-signature',
    description: 'The token of a signed upload URL.',
  },
} as const

type Security = Partial<Record<keyof typeof SECURITY_SCHEMES, never[]>>[]

interface Access {
  security: Security
  /** What is said to who does not say it, or not well. */
  errors: ErrorCode[]
}

const TOKEN: Security = [{ bearer: [] }, { apikey: [] }]
const SIGNED: ErrorCode[] = [
  'InvalidRequest',
  'InvalidJWT',
  'ExpiredToken',
  'LinkRevoked',
  'InvalidSignature',
]

/** Who may call an operation. Whether what is asked for is allowed, policies say. */
export const ACCESS = {
  anybody: { security: [], errors: [] },
  /** A token shows more. */
  optional: { security: [{}, ...TOKEN], errors: [] },
  optionalOrSigned: { security: [{}, ...TOKEN, { signedUrl: [] }], errors: SIGNED },
  token: { security: TOKEN, errors: ['AuthenticationRequired', 'InvalidToken'] },
  /** The same, but for what Supabase says (wire §1.4). */
  tokenOfV2: { security: TOKEN, errors: ['TokenRequired', 'InvalidToken'] },
  listener: {
    security: [...TOKEN, { apikeyInQuery: [] }],
    errors: ['AuthenticationRequired', 'InvalidToken'],
  },
  service: { security: TOKEN, errors: ['AuthenticationRequired', 'InvalidToken', 'RoleNotAllowed'] },
  signed: { security: [{ signedUrl: [] }], errors: SIGNED },
  /** By a token that is a part of the path. */
  signedInPath: { security: [], errors: SIGNED },
  uploadToken: { security: [{ uploadToken: [] }], errors: SIGNED },
} as const satisfies Record<string, Access>
export type AccessName = keyof typeof ACCESS

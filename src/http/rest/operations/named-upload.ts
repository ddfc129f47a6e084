import { z } from 'zod'
import type { Describe } from '../../openapi/operation.ts'
import { uuid } from '../../openapi/shapes.ts'
import { file } from './file.ts'
import { UPLOAD_ERRORS, UPLOAD_HEADERS, uploadBody } from './transfers.ts'

const CONDITIONS = new Set(['if-match', 'if-none-match', 'if-unmodified-since'])

export const uploadNamed: Describe = () => ({
  id: 'uploadNamedObject',
  tag: 'Objects',
  summary: 'Uploads, under a name that is made for it',
  description:
    'By the `path_template` of the bucket. The file needs a name of its own: by `x-file-name`, or in the form. With an `Idempotency-Key` it can be sent again.',
  access: 'token',
  headers: ['idempotency-key', 'x-file-name', ...UPLOAD_HEADERS.filter((header) => !CONDITIONS.has(header))],
  body: uploadBody,
  answers: {
    201: {
      description: 'It is stored.',
      mayCarry: ['Idempotent-Replayed'],
      json: file
        .extend({
          Id: uuid,
          Key: z.string(),
          message: z.string(),
          download_url: z.string().nullable().describe('Works for a day; null if you may not read it.'),
        })
        .meta({ id: 'NamedUpload' }),
    },
  },
  errors: [
    ...UPLOAD_ERRORS.filter((code) => code !== 'PreconditionFailed'),
    'AccessDenied',
    'KeyAlreadyExists',
    'IdempotencyKeyReused',
    'IdempotencyKeyInUse',
    'TooManyIdempotencyKeys',
  ],
})

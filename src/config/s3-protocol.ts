import { z } from 'zod'
import { durationAboveZero, host, integer, secret } from './fields.ts'
import { setting, type ValuesOf } from './setting.ts'

/** The S3 protocol as it is spoken here; not the store that may be behind it (`s3.ts`). */
export interface S3ProtocolSettings extends Omit<Values, 'accessKeyId' | 'secretAccessKey'> {
  /** The pair that everybody may do everything with; undefined is that of keys.json. */
  accessKey: S3KeyPair | undefined
}

/** What S3 clients log in with. */
export interface S3KeyPair {
  accessKeyId: string
  /** Signs requests, and is never sent. */
  secretAccessKey: string
}

/** What stands between slashes and commas in a signature's scope, and in the files of tools. */
const accessKeyId = z.string().regex(/^[\w.-]{3,128}$/, 'must have 3 to 128 letters, digits, or one of - _ .')

/** Tools take away white space around it, and config files of some end at others. */
const secretAccessKey = secret
  .max(256, 'must have at most 256 characters')
  .regex(/^[!-~]*$/, 'must be of ASCII, without white space')

export const S3_PROTOCOL_TABLE = {
  /** Where it stands at `/`. 0 is nowhere; undefined is the port after STORAGE_PORT, if that is free. */
  port: setting('STORAGE_S3_PROTOCOL_PORT', integer(0, 65_535), {
    shown: 'the one after `STORAGE_PORT`',
    help: 'a port where the S3 protocol is at `/`; `0` for none',
    example: '8210',
  }),
  /** In lower case. */
  domain: setting(
    'STORAGE_S3_PROTOCOL_DOMAIN',
    host.transform((text) => text.toLowerCase()),
    {
      help: "a host that is the S3 protocol's alone, path style, and whose `<bucket>.` subdomains are its buckets",
      example: 's3.example.com',
    },
  ),
  region: setting(
    'STORAGE_S3_PROTOCOL_REGION',
    z.string().regex(/^[\w-]+$/, 'must be a name such as eu-west-1'),
    {
      preset: 'us-east-1',
      help: 'the region that clients sign for; `us-east-1`, `auto` and none are taken, too',
    },
  ),
  accessKeyId: setting('STORAGE_S3_PROTOCOL_ACCESS_KEY_ID', accessKeyId, {
    shown: 'made at first start',
    help: "S3 clients' key for everything, as the service key is for others",
  }),
  secretAccessKey: setting('STORAGE_S3_PROTOCOL_ACCESS_KEY_SECRET', secretAccessKey, {
    shown: 'made at first start',
    help: 'goes with the one before; at least 32 characters',
  }),
  uploadExpiryMs: setting('STORAGE_S3_PROTOCOL_UPLOAD_EXPIRY', durationAboveZero, {
    preset: '7d',
    help: 'how long an upload in parts stays after its last part',
  }),
}

type Values = ValuesOf<typeof S3_PROTOCOL_TABLE>

/** What is wrong with settings that are each right by themselves. @param mainPort STORAGE_PORT */
export function s3ProtocolContradictions(values: Values, mainPort: number): string[] {
  const problems: string[] = []
  if ((values.accessKeyId === undefined) !== (values.secretAccessKey === undefined)) {
    problems.push('STORAGE_S3_PROTOCOL_ACCESS_KEY_ID and STORAGE_S3_PROTOCOL_ACCESS_KEY_SECRET go together')
  }
  if (values.port !== 0 && values.port === mainPort) {
    problems.push('STORAGE_S3_PROTOCOL_PORT must be another one than STORAGE_PORT; 0 turns it off')
  }
  return problems
}

export function s3ProtocolSettings(values: Values): S3ProtocolSettings {
  const { accessKeyId, secretAccessKey, ...rest } = values
  const isGiven = accessKeyId !== undefined && secretAccessKey !== undefined
  return { ...rest, accessKey: isGiven ? { accessKeyId, secretAccessKey } : undefined }
}

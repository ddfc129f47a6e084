import { StorageError } from '../../model/errors.ts'

/** Where a page of shares has ended. */
export interface SharePlace {
  /** As PostgreSQL has written it, to the microsecond. */
  time: string
  share: string
}

const FORM = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?[+-]\d\d:\d\d) ([\w-]{22})$/

/** The place behind a share, as clients hand it back. They see nothing in it that they have not been told. */
export function encodeSharePlace({ created_at, share_id }: { created_at: string; share_id: string }): string {
  return Buffer.from(`${created_at} ${share_id}`).toString('base64url')
}

/** @throws InvalidParameter for what is none of ours */
export function decodeSharePlace(cursor: string): SharePlace {
  const [, time, share] = FORM.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (time === undefined || share === undefined || Number.isNaN(Date.parse(time))) {
    throw new StorageError('InvalidParameter', { message: 'The cursor is not valid' })
  }
  return { time, share }
}

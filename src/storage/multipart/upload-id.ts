/** Of hexadecimal digits: enough for the milliseconds since 1970 until the year 10889. */
const TIME_DIGITS = 12

const UPLOAD_ID = /^[0-9a-f]{12}([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/

/** As clients know an upload in parts: its time, so that ids are listed in their order, and its version. */
export function makeUploadId(version: string, now: Date): string {
  return now.getTime().toString(16).padStart(TIME_DIGITS, '0') + version.replaceAll('-', '')
}

/** Null for what is no id. */
export function versionOf(uploadId: string): string | null {
  const [, ...groups] = UPLOAD_ID.exec(uploadId) ?? []
  return groups.length > 0 ? groups.join('-') : null
}

import { createHash } from 'node:crypto'

/**
 * Fields as a file has them: JSON, with a `checksum` of all others behind them, which `jq 'del(.checksum)' FILE | sha256sum`
 * computes too. What is read is as it was written when this makes the same text of it.
 *
 * @param fields may have a checksum, which is computed anew
 */
export function withChecksum(fields: object): string {
  const { checksum: _, ...rest } = fields as { checksum?: unknown }
  const checksum = createHash('sha256').update(asText(rest)).digest('hex')
  return asText({ ...rest, checksum })
}

function asText(fields: object): string {
  return `${JSON.stringify(fields, null, 2)}\n`
}

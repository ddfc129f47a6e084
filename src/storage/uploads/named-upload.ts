import { createHash } from 'node:crypto'
import type { Written } from '../../backend/backend.ts'
import { requestHash } from '../idempotent-requests.ts'
import type { Making } from '../object/made-name.ts'
import type { LateFields, UploadBody, UploadContent } from '../writing/upload-request.ts'

/** An upload whose name is to be made. */
export type NamedContent = UploadContent & { bucket: string /** As its owner calls it. */; fileName: string }

export interface NamedUpload extends NamedContent {
  making: Making
  /** Whether the same request may have stored it already. */
  isAgain: boolean
}

/**
 * A hash of all that an upload says, its bytes and what stands behind them included, once they have been read.
 *
 * @returns with the content whose body is to be read in the place of the one that was sent
 */
export function watchedUpload<T extends NamedContent>(content: T): { content: T; hash: () => string } {
  const { body } = content
  let read: { written: Written; late: LateFields } | undefined
  const late = async (written: Written) => {
    const said = await body.late(written)
    read = { written, late: said }
    return said
  }
  const watchedBody: UploadBody = { ...body, late }
  return {
    content: { ...content, body: watchedBody },
    hash: () => hashOf(content, read),
  }
}

/** The same of an upload that is not to be stored: reads its bytes for nothing else. @throws as its body */
export async function readForHash(content: NamedContent): Promise<{ request: string; sha256: string }> {
  const { body } = content
  const sha256 = createHash('sha256')
  let size = 0
  try {
    body.admit()
    for await (const bytes of body.stream) {
      size += bytes.length
      sha256.update(bytes)
    }
    const written = { size, sha256: sha256.digest('hex') }
    const late = await body.late(written)
    return { request: hashOf(content, { written, late }), sha256: written.sha256 }
  } catch (error) {
    body.discard()
    throw error
  }
}

function hashOf(
  { body, bucket, fileName, ...said }: NamedContent,
  read: { written: Written; late: LateFields } | undefined,
): string {
  const whole = { ...said, fileName, ...read?.late }
  const fields = Object.entries(whole).sort(([one], [other]) => (one < other ? -1 : 1))
  return requestHash(bucket, read?.written.sha256 ?? '', fields)
}

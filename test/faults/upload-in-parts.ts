import type { Answer } from './crashes/operation.ts'
import type { Random } from './random.ts'

const MiB = 1024 * 1024

/** Of all parts but the last. In bytes. */
const PART = 5 * MiB

/** A signed request of S3. @param target behind the endpoint, such as `/bucket/key?uploads` */
export type SendS3 = (method: string, target: string, body?: string | Buffer) => Promise<Response>

/** A part, as it is sent. */
interface Part {
  number: number
  bytes: Buffer
}

/** An upload whose parts are all acknowledged, and what may become of it. */
export interface SentParts {
  /** May be asked again. */
  complete(): Promise<Answer>
  abort(): Promise<Answer>
}

/** Of contents, at least, that are one part, two that become one file, and three that stay files (decision 0051). */
export const SIZES = { single: 1, grown: PART + 1, joined: 2 * PART + 4 * MiB } as const

/** Content of which no part is like another. */
export function contentInParts(size: number, mark: string): Buffer {
  const content = Buffer.alloc(size)
  for (const { number, bytes } of partsOf(content)) bytes.fill(` ${mark} ${number}`)
  return content
}

/** The same in any of these sizes, or a bit more. */
export function anyInParts(random: Random, mark: string): Buffer {
  const size = random.pick([SIZES.single, SIZES.grown, SIZES.joined])
  return contentInParts(size + random.below(20_000), mark)
}

function partsOf(content: Buffer): Part[] {
  const count = Math.ceil(content.length / PART)
  return Array.from({ length: count }, (_, index) => ({
    number: index + 1,
    bytes: content.subarray(index * PART, (index + 1) * PART),
  }))
}

/** Of a part that is replaced, perhaps, and of one that is not named. */
const IN_VAIN = [2, 4].map((number) => ({ number, bytes: Buffer.alloc(1000, ' in vain') }))

/** Begins an upload, and sends its parts at once after some in vain. @returns the answer, if it is a refusal */
export async function sendInParts(send: SendS3, key: string, content: Buffer): Promise<SentParts | Answer> {
  const ask = async (method: string, query: string, body?: string | Buffer) => {
    const response = await send(method, `/${key}?${query}`, body)
    return { text: await response.text(), status: response.status, etag: response.headers.get('etag') }
  }
  const { text, status } = await ask('POST', 'uploads')
  if (status !== 200) return { status }
  const id = /<UploadId>(.+)<\/UploadId>/.exec(text)?.[1]
  const put = async ({ number, bytes }: Part) => ({
    ...(await ask('PUT', `partNumber=${number}&uploadId=${id}`, bytes)),
    listed: `<PartNumber>${number}</PartNumber>`,
  })
  const inVain = []
  for (const part of IN_VAIN) inVain.push(await put(part))
  const kept = await Promise.all(partsOf(content).map(put))
  const refusal = [...inVain, ...kept].find((answer) => answer.status !== 200)
  if (refusal) return { status: refusal.status }
  const parts = kept.map(({ listed, etag }) => `<Part>${listed}<ETag>${etag}</ETag></Part>`)
  const list = `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`
  const end = async (method: string, body?: string) => {
    const { status } = await ask(method, `uploadId=${id}`, body)
    return { status }
  }
  return { complete: () => end('POST', list), abort: () => end('DELETE') }
}

import type { IncomingHttpHeaders } from 'node:http'
import {
  CHECKSUM_ALGORITHMS,
  type Checksum,
  type ChecksumAlgorithm,
  isChecksumAlgorithm,
  isChecksumValue,
} from '../../model/checksums.ts'
import { StorageError } from '../../model/errors.ts'
import type { XmlElements } from './xml-writer.ts'

/** How requests and answers name checksums (wire §6.4). */

/** In lower case, as Node names headers. */
export function headerOf(algorithm: ChecksumAlgorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`
}

const HEADERS = CHECKSUM_ALGORITHMS.map((algorithm) => [headerOf(algorithm), algorithm] as const)

/** Other headers of the same beginning, which are no checksums. */
const OTHERS = new Set(['x-amz-checksum-algorithm', 'x-amz-checksum-mode', 'x-amz-checksum-type'])

/**
 * The checksum that a client sends of a body, or of an object.
 *
 * @throws InvalidRequest when there are several, when it can be none, or by an algorithm that is not known
 */
export function sentChecksum(
  headers: Record<string, string | string[] | undefined>,
): { algorithm: ChecksumAlgorithm; value: string } | undefined {
  let found: { algorithm: ChecksumAlgorithm; value: string } | undefined
  for (const [name, algorithm] of HEADERS) {
    const value = headers[name]?.toString()
    if (value === undefined) continue
    if (found) throw invalid('Only one x-amz-checksum- header may be sent')
    if (!isChecksumValue(algorithm, value)) throw invalid(`The value of ${name} is not valid`)
    found = { algorithm, value }
  }
  return found
}

/** @throws InvalidRequest for one that is not known */
export function parseAlgorithm(text: string | undefined): ChecksumAlgorithm | undefined {
  const algorithm = text?.toUpperCase()
  if (algorithm === undefined || isChecksumAlgorithm(algorithm)) return algorithm
  throw invalid(`The checksum algorithm must be one of ${CHECKSUM_ALGORITHMS.join(', ')}`)
}

/** What a request says will stand behind its bytes, in lower case. */
export function announcedTrailers(headers: IncomingHttpHeaders): string[] {
  const names = headers['x-amz-trailer']?.toString().toLowerCase().split(',') ?? []
  return names.map((name) => name.trim()).filter((name) => name !== '')
}

/** By which algorithm a checksum comes behind the bytes; it is then among `sentChecksum` of the trailers. */
export function algorithmInTrailer(announced: string[]): ChecksumAlgorithm | undefined {
  const [found] = HEADERS.filter(([name]) => announced.includes(name))
  return found?.[1]
}

/** A client that sends one counts on its being compared. @throws InvalidRequest for one by an algorithm that is not known */
export function refuseUnknownChecksums(names: Iterable<string>): void {
  for (const name of names) {
    if (!name.startsWith('x-amz-checksum-') || OTHERS.has(name)) continue
    if (!HEADERS.some(([known]) => known === name)) throw invalid(`${name} is not supported`)
  }
}

/** As headers of an answer. */
export function checksumHeaders({ algorithm, type, value }: Checksum): Record<string, string> {
  return { [headerOf(algorithm)]: value, 'x-amz-checksum-type': type }
}

/** As elements of one. */
export function checksumElements({ algorithm, type, value }: Checksum): XmlElements {
  return { [`Checksum${algorithm}`]: value, ChecksumType: type }
}

function invalid(message: string): StorageError {
  return new StorageError('InvalidRequest', { message })
}

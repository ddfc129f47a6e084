import type { VersionEntry } from '../../../database/queries/object-versions.ts'
import { versionId } from '../../../model/version-id.ts'
import { keyOfName, nameOfKey } from '../../../storage/object/folder-marker.ts'
import { validatorsOf } from '../../../storage/object/stored-object.ts'
import { placeOf } from '../../../storage/object-lists.ts'
import { askerOf } from '../../auth/caller.ts'
import { ownerElement } from '../owner.ts'
import { integerIn, invalid, type KeyWriter, keyWriterIn, textIn } from '../parameters.ts'
import type { Operation } from '../request.ts'
import { Mixed, type XmlElements } from '../xml-writer.ts'

/** More are not asked for, as with S3. */
const MOST = 1000

/**
 * GET of a bucket with `versions`: what all keys have and had, each one's newest first. The marker of the next page holds its
 * place, though the version that it names is deleted meanwhile.
 */
export const listObjectVersions: Operation = {
  name: 'storage.s3.object.list_versions',
  async handle(request) {
    const { c, services, bucket, query } = request
    const caller = await request.caller()
    const prefix = textIn(query, 'prefix')
    const delimiter = textIn(query, 'delimiter')
    const keyMarker = textIn(query, 'key-marker')
    const idMarker = textIn(query, 'version-id-marker')
    if (idMarker !== '' && keyMarker === '') throw invalid('A version-id-marker needs a key-marker')
    const limit = integerIn(query, 'max-keys', { from: 0, to: MOST }) ?? MOST
    const write = keyWriterIn(query)
    const [page] = await Promise.all([
      services.lists.versions(caller, askerOf(c, services, caller), bucket, {
        prefix,
        delimiter,
        afterName: keyMarker === '' ? null : idMarker === '' ? keyMarker : nameOfKey(keyMarker),
        afterVersion: idMarker === '' ? null : idMarker,
        limit,
      }),
      services.buckets.demand(bucket),
    ])
    const { entries, isTruncated } = page
    const last = entries.at(-1)
    const isShown = ({ name, isFolder }: VersionEntry) =>
      isFolder || (!name.endsWith('/') && keyOfName(name).startsWith(prefix))
    return request.xml('ListVersionsResult', {
      Name: bucket,
      Prefix: write(prefix),
      KeyMarker: write(keyMarker),
      VersionIdMarker: idMarker,
      NextKeyMarker: isTruncated && last ? write(keyOf(last)) : undefined,
      NextVersionIdMarker: isTruncated && last && !last.isFolder ? placeOf(last) : undefined,
      MaxKeys: limit,
      Delimiter: delimiter === '' ? undefined : write(delimiter),
      EncodingType: query.get('encoding-type') || undefined,
      IsTruncated: isTruncated,
      ...entriesOf(entries.filter(isShown), write),
    })
  },
}

function keyOf({ name, isFolder }: VersionEntry): string {
  return isFolder ? name : keyOfName(name)
}

/** Versions and markers in one order, as S3 has them: there are clients that take them one after the other. Then the prefixes. */
function entriesOf(entries: VersionEntry[], write: KeyWriter): XmlElements {
  const folders = entries.filter(({ isFolder }) => isFolder)
  const history = entries
    .filter(({ isFolder }) => !isFolder)
    .map((entry): [string, XmlElements] =>
      entry.isDeleteMarker
        ? ['DeleteMarker', markerElement(entry, write)]
        : ['Version', versionElement(entry, write)],
    )
  return {
    history: new Mixed(history),
    CommonPrefixes: folders.map(({ name }) => ({ Prefix: write(name) })),
  }
}

function markerElement(entry: VersionEntry, write: KeyWriter): XmlElements {
  return {
    ...headOf(entry, write),
    LastModified: (entry.since ?? new Date(0)).toISOString(),
    ...tailOf(entry),
  }
}

function versionElement(entry: VersionEntry, write: KeyWriter): XmlElements {
  const { id, version, metadata, updatedAt, since } = entry
  const row = { id: id ?? '', version, metadata, updatedAt: updatedAt ?? since ?? new Date(0) }
  const { etag, lastModified } = validatorsOf(row)
  return {
    ...headOf(entry, write),
    LastModified: lastModified.toISOString(),
    ETag: etag,
    ChecksumAlgorithm: metadata?.checksum?.algorithm,
    ChecksumType: metadata?.checksum?.type,
    Size: typeof metadata?.size === 'number' ? metadata.size : 0,
    StorageClass: 'STANDARD',
    ...tailOf(entry),
  }
}

function headOf(entry: VersionEntry, write: KeyWriter): XmlElements {
  return {
    Key: write(keyOf(entry)),
    VersionId: versionId(entry.version, entry.versioning?.isVersioned),
    IsLatest: entry.versioning?.isLatest === true,
  }
}

function tailOf({ ownerId }: VersionEntry): XmlElements {
  return { Owner: ownerElement(ownerId) }
}

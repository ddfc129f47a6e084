import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3'
import type { Location } from '../../model/location.ts'
import type { Stored } from '../backend.ts'
import type { ObjectKeys } from './object-keys.ts'
import type { Store } from './store.ts'

/** Our objects whose keys begin with `prefix`. */
export async function* listObjects(
  store: Store,
  keys: ObjectKeys,
  prefix: string,
  keysPerPage?: number,
): AsyncGenerator<Stored> {
  for await (const { key, size, modifiedAt } of listKeys(store, prefix, keysPerPage)) {
    const location = keys.location(key)
    if (location) yield { location, size, modifiedAt }
  }
}

/** All keys that begin with `prefix`, a page at a time in memory. @param keysPerPage as the store likes, mostly 1000, when absent */
export async function* listKeys(
  store: Store,
  prefix: string,
  keysPerPage?: number,
): AsyncGenerator<{ key: string; size: number; modifiedAt: Date }> {
  let ContinuationToken: string | undefined
  do {
    const input = { Bucket: store.bucket, Prefix: prefix, MaxKeys: keysPerPage, ContinuationToken }
    const page = await store.send(new ListObjectsV2Command(input))
    for (const { Key, Size, LastModified } of page.Contents ?? []) {
      if (Key !== undefined && LastModified) yield { key: Key, size: Size ?? 0, modifiedAt: LastModified }
    }
    ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined
  } while (ContinuationToken !== undefined)
}

/** What stands between `prefix` and the next slash, of all keys where one follows. */
export async function listFolders(store: Store, prefix: string): Promise<string[]> {
  const names: string[] = []
  let ContinuationToken: string | undefined
  do {
    const input = { Bucket: store.bucket, Prefix: prefix, Delimiter: '/', ContinuationToken }
    const page = await store.send(new ListObjectsV2Command(input))
    for (const { Prefix } of page.CommonPrefixes ?? []) {
      if (Prefix !== undefined) names.push(Prefix.slice(prefix.length, -1))
    }
    ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined
  } while (ContinuationToken !== undefined)
  return names
}

/** A multipart upload, of a version or of a part of one; or of a check, and of no location. */
export interface ListedUpload {
  location: Location | null
  key: string
  id: string
  startedAt: Date
}

/** What the store tells of a multipart upload. */
type StoreUpload = Omit<ListedUpload, 'location'>

/** Our multipart uploads that were neither completed nor aborted, of keys that begin with `prefix`. */
export async function* listUploads(
  store: Store,
  keys: ObjectKeys,
  prefix: string,
): AsyncGenerator<ListedUpload> {
  for await (const upload of listAllUploads(store, prefix)) {
    const { key } = upload
    const location = keys.location(key) ?? keys.incompletePart(key)?.location ?? null
    const isOurs = location !== null || keys.check(key) !== null
    if (isOurs) yield { ...upload, location }
  }
}

/** All multipart uploads that were neither completed nor aborted, of keys that begin with `prefix`. */
export async function* listAllUploads(store: Store, prefix: string): AsyncGenerator<StoreUpload> {
  let next: { KeyMarker: string; UploadIdMarker: string | undefined } | undefined
  do {
    const input = { Bucket: store.bucket, Prefix: prefix, ...next }
    const page = await store.send(new ListMultipartUploadsCommand(input))
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      if (Key === undefined || UploadId === undefined || !Initiated) continue
      yield { key: Key, id: UploadId, startedAt: Initiated }
    }
    const { NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = page
    next = page.IsTruncated && KeyMarker !== undefined ? { KeyMarker, UploadIdMarker } : undefined
  } while (next)
}

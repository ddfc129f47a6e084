import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { hasCode, StorageError } from '../../../model/errors.ts'
import type { Location } from '../../../model/location.ts'
import { CHECKPOINT_MS, drainSome } from '../../drain.ts'
import type { Appended, AppendOptions, Progress } from '../../resumable-backend.ts'
import { listUploads } from '../listing.ts'
import type { ObjectKeys } from '../object-keys.ts'
import { deleteObject, headObject } from '../objects.ts'
import { abortUpload } from '../writing/multipart-upload.ts'
import type { ObjectWriterOptions } from '../writing/object-writer.ts'
import { PartCutter } from '../writing/part-cutter.ts'
import { IncompleteParts } from './incomplete-parts.ts'
import { PartSeries, type StoredParts } from './part-series.ts'
import { NO_NOTES, notesOf, type ProgressNotes, progressOf } from './progress-notes.ts'
import { completeParts, expectPart } from './uploaded-parts.ts'

export interface ResumableObjectsOptions extends ObjectWriterOptions {
  keys: ObjectKeys
  /** How many parts are asked for at once; as many as the store likes when undefined. */
  partsPerPage: number | undefined
}

/**
 * Objects that arrive in chunks, over any time and through any server.
 *
 * What fills a part is sent as one of a multipart upload. All parts but the last have the same length, which some
 * stores ask for; so the bytes that do not fill one are kept as an `IncompletePart`, with which the next chunk begins.
 * A version that fits into a single PUT gets one, with its last chunk.
 *
 * Going back costs nothing: a part is replaced by the next one with its number, and an incomplete part is removed only
 * when the next chunk begins after it. (Parts that nothing replaces, because the version ends earlier than it once did, are no
 * part of the object; on Ceph, which refuses to leave them out, such a version cannot be completed.)
 */
export class ResumableObjects {
  readonly incompleteParts: IncompleteParts
  readonly #options: ResumableObjectsOptions

  constructor(options: ResumableObjectsOptions) {
    this.#options = options
    this.incompleteParts = new IncompleteParts(options)
  }

  /** As `ResumableBackend.append`. */
  async append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended> {
    body.on('error', () => {}) // it may break before `drainSome` listens, which then finds it broken
    const notes = notesOf(from)
    const { buffers, batchSize } = this.#options
    const series = this.#goOn(at, from, notes, options)
    const cutter = new PartCutter(buffers, (part) => series.add(part))
    try {
      await this.#begin(at, from, notes, cutter)
      const { size, cut } = await batchSize.during(() =>
        drainSome(body, {
          ...options,
          maxBytes: notes.isWhole ? 0 : options.maxBytes,
          batchBytes: batchSize.bytes,
          write: (batch) => cutter.take(batch),
        }),
      )
      const isLast = from.offset + size === options.size
      if (size === 0 && !(isLast && notes.tail)) return { progress: from, cut }
      return { progress: await this.#keep(at, from.offset + size, notes, series, cutter, isLast), cut }
    } catch (error) {
      await series.breakOff(new StorageError('BackendUnavailable', { cause: error }))
      throw error
    } finally {
      await cutter.release()
    }
  }

  /** As `ResumableBackend.complete`. */
  async complete(at: Location, progress: Progress): Promise<void> {
    const key = this.#options.keys.of(at)
    try {
      await this.#make(key, at, progress)
    } catch (error) {
      // What is gone may have become the object, by a completion whose answer was lost.
      if (!hasCode(error, 'MissingBytes')) throw error
    }
    const made = await headObject(this.#options.store, key)
    if (made?.size !== progress.offset) throw new StorageError('MissingBytes')
    await this.incompleteParts.removeAll(at).catch(() => {}) // the cleanup finds them
  }

  /**
   * As `ResumableBackend.goBack`. Goes by the notes alone, so that it cannot take what somebody else has begun. An object
   * made of the last chunk stays: the next one replaces it.
   */
  async goBack(at: Location, steps: { from: Progress; to: Progress }): Promise<void> {
    const { store, keys } = this.#options
    const from = ownNotes(steps.from)
    const to = ownNotes(steps.to)
    if (!from || !to) return
    const unwanted = incompletePartsOf(from).filter((id) => !incompletePartsOf(to).includes(id))
    if (from.uploadId !== null && from.uploadId !== to.uploadId) {
      await abortUpload(store, keys.of(at), from.uploadId)
    }
    for (const id of unwanted) await this.incompleteParts.remove(at, id)
  }

  /** As `ResumableBackend.discard`. Finds by itself what there is: a crash may have left what the notes do not tell. */
  async discard(at: Location): Promise<void> {
    const { store, keys } = this.#options
    const key = keys.of(at)
    for (const prefix of [key, keys.ofIncompleteParts(at)]) {
      for await (const upload of listUploads(store, keys, prefix)) {
        await abortUpload(store, upload.key, upload.id)
      }
    }
    await this.incompleteParts.removeAll(at)
    await deleteObject(store, key)
  }

  #goOn(at: Location, from: Progress, notes: ProgressNotes, options: AppendOptions): PartSeries {
    const { store, sender, keys, parallel } = this.#options
    // The caller is to know of a new upload at once.
    let toldAt = notes.uploadId === null ? Number.NEGATIVE_INFINITY : performance.now()
    return new PartSeries({
      store,
      sender,
      key: keys.of(at),
      from: {
        uploadId: notes.uploadId,
        parts: notes.parts,
        size: from.offset - (notes.tail?.size ?? 0),
      },
      parallel,
      onStored: async (stored) => {
        if (performance.now() - toldAt < CHECKPOINT_MS) return
        toldAt = performance.now()
        await options.onProgress(progressOf(stored.size, after(notes, stored)))
      },
    })
  }

  /** Sees to it that what was noted is there, and fetches what the chunk is to begin with. */
  async #begin(at: Location, from: Progress, notes: ProgressNotes, cutter: PartCutter): Promise<void> {
    const { store, keys } = this.#options
    const { uploadId, parts, tail, staleTail, isWhole } = notes
    const key = keys.of(at)
    if (isWhole && (await headObject(store, key))?.size !== from.offset)
      throw new StorageError('MissingBytes')
    if (uploadId !== null) await expectPart(store, { key, uploadId }, parts)
    if (tail) await this.incompleteParts.read(at, tail, (bytes) => cutter.take(bytes))
    // If it cannot be removed now, it is with all others at the end.
    if (staleTail !== null) await this.incompleteParts.remove(at, staleTail).catch(() => {})
  }

  /** Stores what has come since the last part. */
  async #keep(
    at: Location,
    offset: number,
    notes: ProgressNotes,
    series: PartSeries,
    cutter: PartCutter,
    isLast: boolean,
  ): Promise<Progress> {
    const { buffers, keys, sender } = this.#options
    if (isLast && !series.isBegun) {
      const bytes = await cutter.rest()
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      // One that is there is of an earlier try, from which the caller has gone back.
      await sender.put(keys.of(at), bytes, { sha256, replaces: true })
      return progressOf(offset, { ...NO_NOTES, staleTail: notes.tail?.id ?? null, isWhole: true })
    }
    if (isLast || cutter.restLength === buffers.partSize) await cutter.sendRest()
    const stored = await series.done()
    const tail = cutter.restLength > 0 ? await this.incompleteParts.write(at, await cutter.rest()) : null
    return progressOf(offset, { ...after(notes, stored), tail })
  }

  async #make(key: string, at: Location, progress: Progress): Promise<void> {
    const { store, sender, partsPerPage } = this.#options
    const { offset } = progress
    const { uploadId, parts, isWhole } = notesOf(await this.#withoutIncompletePart(at, progress))
    if (isWhole) return
    if (uploadId !== null) {
      await completeParts(store, { key, uploadId }, { count: parts, size: offset }, partsPerPage)
    } else if (!(await headObject(store, key))) {
      await sender.put(key, new Uint8Array(), { sha256: EMPTY_SHA256, replaces: true })
    }
  }

  /** The same, when it was not known before that this is all. */
  async #withoutIncompletePart(at: Location, progress: Progress): Promise<Progress> {
    if (!notesOf(progress).tail) return progress
    const { progress: ended } = await this.append(at, progress, Readable.from([]), {
      maxBytes: 0,
      size: progress.offset,
      signal: new AbortController().signal,
      tap: () => {},
      onProgress: async () => {},
    })
    return ended
  }
}

/** The notes once these parts are stored, without those of the bytes after them. */
function after(before: ProgressNotes, { uploadId, parts }: StoredParts): ProgressNotes {
  return { ...NO_NOTES, uploadId, parts, staleTail: before.tail?.id ?? null }
}

/** Null when another backend has the bytes. */
function ownNotes(progress: Progress): ProgressNotes | null {
  try {
    return notesOf(progress)
  } catch (error) {
    if (!hasCode(error, 'MissingBytes')) throw error
    return null
  }
}

/** The ids of the incomplete parts that may be there. */
function incompletePartsOf({ tail, staleTail }: ProgressNotes): string[] {
  return [tail?.id ?? null, staleTail].filter((id) => id !== null)
}

const EMPTY_SHA256 = createHash('sha256').digest('hex')

import type { Context } from 'hono'
import type { WantedVersion } from '../model/version-id.ts'
import type { StoredObject } from '../storage/object/stored-object.ts'
import type { Stored } from '../storage/writing/commit.ts'
import type { Exchange, ObjectNote } from './surface.ts'

export interface Env {
  Bindings: Exchange
}

export type AppContext = Context<Env>

type Noted = Pick<StoredObject, 'id' | 'size'>

/** Remembers for whoever hears of the request's end what it is about; of two objects, the source. */
export function logTarget(c: AppContext, bucket: string, name?: string): void {
  const { notes } = c.env
  notes.bucket = bucket
  if (name !== undefined) notes.path = name
}

/** The same of an object that was found. */
export function logObject(c: AppContext, { id, size }: Noted): void {
  const { notes } = c.env
  notes.objectId = id
  if (size !== null) notes.size = size
}

/** The same of what was stored. */
export function logStored(c: AppContext, { object, created }: Stored): void {
  logObject(c, object)
  c.env.notes.isUpdate = !created
}

/** The same of what was stored, of which earlier requests have brought bytes, too. */
export function logAssembled(c: AppContext, { object, created }: Stored): void {
  const { notes } = c.env
  notes.objectId = object.id
  notes.isUpdate = !created
  if (object.size !== null) notes.objectSize = object.size
}

/** The same of two objects: of a copy, a move. */
export function logRoute(c: AppContext, from: Place, to: Place): void {
  logTarget(c, from.bucket, from.name)
  c.env.notes.target = { bucket: to.bucket, path: to.name }
}

interface Place {
  bucket: string
  name: string
}

/** The same of one version of an object, if it is named by its id. */
export function logVersion(c: AppContext, version: WantedVersion | undefined): void {
  if (version && 'id' in version) c.env.notes.resourceId = version.id
}

/** The same of many objects of one bucket, and of versions. Of what is named twice it is told once: what became of it first. */
export function logEach(c: AppContext, notes: ObjectNote[]): void {
  const each = new Map<string, ObjectNote>()
  for (const note of notes) {
    const key = JSON.stringify([note.path, note.version])
    if (!each.has(key)) each.set(key, note)
  }
  c.env.notes.each = [...each.values()]
}

import type { Context } from 'hono'
import type { StoredObject } from '../storage/object/stored-object.ts'
import type { Stored } from '../storage/writing/commit.ts'
import type { Exchange } from './surface.ts'

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

/** The same of many objects of one bucket. @param idOf tells which were found; the others are as if they were not there */
export function logEach(c: AppContext, names: string[], idOf: (name: string) => string | undefined): void {
  c.env.notes.each = [...new Set(names)].map((path) => {
    const objectId = idOf(path)
    return { path, objectId, status: objectId === undefined ? 404 : 200 }
  })
}

import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ResumableBackend } from '../../../src/backend/resumable-backend.ts'
import { deferred } from '../../../src/lib/deferred.ts'
import type { UploadPlace } from '../../../src/storage/multipart/multipart-uploads.ts'
import { until } from '../../support/wait.ts'
import {
  BOUNDS,
  begin,
  bytesOf,
  callerOf,
  completion,
  MIB,
  md5,
  named,
  openSite,
  overriding,
  part,
  SERVICE,
  type Site,
  storedIn,
  type UploadServer,
} from './site.ts'

/** What the next `assemble` waits for, or fails with. */
let beforeAssembly: () => Promise<void> = async () => {}
let afterAssembly: () => Promise<void> = async () => {}

const disturbed = (backend: ResumableBackend): ResumableBackend =>
  overriding(backend, {
    assemble: async (...given) => {
      await beforeAssembly()
      await backend.assemble(...given)
      await afterAssembly()
    },
  })

let site: Site
let here: UploadServer
let there: UploadServer
let bucket: string
let uid: string
beforeAll(async () => {
  site = await openSite(disturbed)
  ;({ here, there } = site)
})
afterAll(() => site.close())
beforeEach(async () => {
  beforeAssembly = async () => {}
  afterAssembly = async () => {}
  const made = await site.bucket()
  bucket = made.id
  uid = made.uid
})

const large = bytesOf(5 * MIB)
const other = bytesOf(5 * MIB)
const small = bytesOf(1000)

/** The object's row, and its bytes. */
async function objectAt(name: string, id = bucket) {
  const [row] = await site.admin`
    select version, metadata, checksum, owner_id from storage.objects where bucket_id = ${id} and name = ${name}`
  if (!row) return null
  const { version, metadata, checksum, owner_id: owner } = row
  const bytes = await buffer(await site.backend.read({ bucket: uid, version }, { size: metadata.size }))
  return { version: String(version), metadata, checksum, owner, bytes }
}

/** Rows and bytes that are there for uploads, or for removals. */
async function leftovers() {
  const [rows] = await site.admin`
    select (select count(*)::int from storage.uploads where bucket_id = ${bucket}) as uploads,
      (select count(*)::int from storage.removals where bucket_uid = ${uid}) as removals,
      (select count(*)::int from storage.s3_multipart_uploads where bucket_id = ${bucket}) as multipart,
      (select count(*)::int from storage.s3_multipart_uploads_parts where bucket_id = ${bucket}) as parts`
  let unfinished = 0
  for await (const { location } of site.backend.unfinished()) if (location?.bucket === uid) unfinished++
  return { ...rows, unfinished }
}
const NONE = { uploads: 0, removals: 0, multipart: 0, parts: 0, unfinished: 0 }

/** A part that is on its way, and counts, before any of its bytes has come. */
async function beginPart(place: UploadPlace, number: number, bytes: Uint8Array) {
  const stream = new Readable({ read() {} })
  const { open, ...sent } = part(number, bytes, stream)
  const begun = deferred<void>()
  const opened: typeof open = (content) => {
    begun.resolve()
    return open(content)
  }
  const outcome: Promise<string> = here.uploads.addPart(SERVICE, place, { ...sent, open: opened }).then(
    () => 'kept',
    (error) => error.code,
  )
  await Promise.race([begun.promise, outcome])
  const finish = () => {
    stream.push(bytes)
    stream.push(null)
    return outcome
  }
  return { stream, outcome, finish }
}

describe('an upload in parts', () => {
  it('becomes one object, whatever the order of its parts and through whichever server they come', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(7, small))
    await Promise.all([
      there.uploads.addPart(SERVICE, place, part(3, other)),
      here.uploads.addPart(SERVICE, place, part(1, large)),
    ])
    const parts = [named(1, large), named(3, other), named(7, small)]
    const made = await there.uploads.complete(SERVICE, place, completion(parts))
    const object = await objectAt('a')
    expect(object?.bytes.equals(Buffer.concat([large, other, small]))).toBe(true)
    expect(object?.metadata).toMatchObject({
      eTag: made.metadata.eTag,
      size: 10 * MIB + 1000,
      contentLength: 10 * MIB + 1000,
    })
    expect(object?.checksum).toBeNull()
    expect(await leftovers()).toEqual(NONE)
    const [{ parts: kept } = { parts: [] }] = await site.admin`
      select parts from storage.version_parts where version::text = ${object?.version ?? ''}`
    expect(kept.map(({ size }: { size: number }) => size)).toEqual([5 * MIB, 5 * MIB, 1000])
  })

  it('of a single part has the hash of the whole', async () => {
    const place = await begin(here, bucket, 'a')
    const { sha256 } = await here.uploads.addPart(SERVICE, place, part(1, small))
    await here.uploads.complete(SERVICE, place, completion())
    expect((await objectAt('a'))?.checksum).toBe(sha256)
    expect(await leftovers()).toEqual(NONE)
  })

  it('takes the newer of two parts of one number, and forgets those that are not named', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, large))
    await there.uploads.addPart(SERVICE, place, part(1, other))
    await here.uploads.addPart(SERVICE, place, part(2, large))
    expect(await leftovers()).toMatchObject({ parts: 2, unfinished: 2 })
    await expect(here.uploads.complete(SERVICE, place, completion([named(1, large)]))).rejects.toMatchObject({
      code: 'InvalidPart',
    })
    await here.uploads.complete(SERVICE, place, completion([named(1, other)]))
    expect((await objectAt('a'))?.bytes.equals(other)).toBe(true)
    expect(await leftovers()).toEqual(NONE)
  })

  it('is told the same when it is completed again, until its object is another one', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, small))
    const made = await here.uploads.complete(SERVICE, place, completion())
    const again = await there.uploads.complete(SERVICE, place, completion())
    expect(again.metadata.eTag).toBe(made.metadata.eTag)
    await site.admin`delete from storage.objects where bucket_id = ${bucket}`
    await expect(there.uploads.complete(SERVICE, place, completion())).rejects.toMatchObject({
      code: 'NoSuchUpload',
    })
  })

  it('is told by its parts, and ends when it is aborted, once', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(2, small))
    await here.uploads.addPart(SERVICE, place, part(9, large))
    const { parts } = await there.uploads.parts(SERVICE, place, 2, 10)
    expect(parts).toMatchObject([{ number: 9, size: 5 * MIB, etag: `"${md5(large)}"` }])
    await there.uploads.abort(SERVICE, place)
    expect(await leftovers()).toEqual(NONE)
    for (const again of [
      () => here.uploads.abort(SERVICE, place),
      () => here.uploads.addPart(SERVICE, place, part(1, small)),
      () => here.uploads.complete(SERVICE, place, completion()),
      () => here.uploads.parts(SERVICE, place, 0, 1),
    ]) {
      await expect(again()).rejects.toMatchObject({ code: 'NoSuchUpload' })
    }
  })

  it.each([
    ['none at all', [], [], 'InvalidPart'],
    ['one that never came', [small], [named(2, small)], 'InvalidPart'],
    ['the wrong order', [large, small], [named(2, small), named(1, large)], 'InvalidPartOrder'],
    ['one twice', [large, small], [named(1, large), named(1, large)], 'InvalidPartOrder'],
    ['a small one before the last', [small, small], [], 'EntityTooSmall'],
  ])('is not made of %s, and can be completed after that', async (_, sent, wanted, code) => {
    const place = await begin(here, bucket, 'a')
    for (const [i, bytes] of sent.entries()) await here.uploads.addPart(SERVICE, place, part(i + 1, bytes))
    await expect(here.uploads.complete(SERVICE, place, completion(wanted))).rejects.toMatchObject({ code })
    expect(await objectAt('a')).toBeNull()
    await here.uploads.addPart(SERVICE, place, part(1, large))
    await here.uploads.complete(SERVICE, place, completion([named(1, large)]))
    expect((await objectAt('a'))?.bytes.equals(large)).toBe(true)
  })

  it('keeps nothing of a part that breaks, or that is not what its client says', async () => {
    const place = await begin(here, bucket, 'a')
    const broken = new Readable({ read() {} })
    const sending = here.uploads.addPart(SERVICE, place, part(1, large, broken))
    broken.push(large.subarray(0, MIB))
    broken.destroy()
    await expect(sending).rejects.toMatchObject({ code: 'Aborted' })
    const wrong = part(1, small)
    const late = async () => {
      throw new Error('these are other bytes')
    }
    const open: typeof wrong.open = (content) => ({ ...wrong.open(content), late })
    await expect(here.uploads.addPart(SERVICE, place, { ...wrong, open })).rejects.toThrow(
      'these are other bytes',
    )
    expect(await leftovers()).toEqual({ ...NONE, uploads: 1, multipart: 1 })
  })
})

describe('its end', () => {
  it('comes once when it is completed twice at the same time', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, large))
    await here.uploads.addPart(SERVICE, place, part(2, small))
    const answers = await Promise.all(
      [here, there, here].map((server) => server.uploads.complete(SERVICE, place, completion())),
    )
    expect(new Set(answers.map(({ metadata }) => metadata.eTag)).size).toBe(1)
    const events =
      await site.admin`select type from storage.events where bucket_id = ${bucket} and name = 'a'`
    expect(events.map(({ type }) => type)).toEqual(['storage.object.created'])
    expect(await leftovers()).toEqual(NONE)
  })

  it('keeps its parts as they are: none is replaced meanwhile, and none added', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, large))
    const begun = deferred<void>()
    const goOn = deferred<void>()
    beforeAssembly = async () => {
      begun.resolve()
      await goOn.promise
    }
    const completing = here.uploads.complete(SERVICE, place, completion())
    await begun.promise
    for (const number of [1, 2]) {
      await expect(there.uploads.addPart(SERVICE, place, part(number, other))).rejects.toMatchObject({
        code: 'OperationAborted',
      })
    }
    goOn.resolve()
    await completing
    expect((await objectAt('a'))?.bytes.equals(large)).toBe(true)
    expect(await leftovers()).toEqual(NONE)
  })

  it('is found by a part that was on its way, be it an abort or an object', async () => {
    for (const end of ['abort', 'complete'] as const) {
      const place = await begin(here, bucket, end)
      await here.uploads.addPart(SERVICE, place, part(1, large))
      const { stream, outcome } = await beginPart(place, 2, large)
      stream.push(large.subarray(0, MIB))
      await there.uploads[end](SERVICE, place, completion([named(1, large)]))
      stream.push(large.subarray(MIB))
      stream.push(null)
      expect(await outcome).toMatch(/^(?:NoSuchUpload|BackendUnavailable)$/)
    }
    expect((await objectAt('complete'))?.bytes.equals(large)).toBe(true)
    expect(await leftovers()).toEqual(NONE)
  })

  it('can be gone on with when all was made but the row: with the same parts, and no others', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, large))
    await here.uploads.addPart(SERVICE, place, part(2, other))
    afterAssembly = async () => {
      throw new Error('the process ends here')
    }
    await expect(here.uploads.complete(SERVICE, place, completion())).rejects.toThrow('ends here')
    afterAssembly = async () => {}
    expect(await objectAt('a')).toBeNull()
    await expect(there.uploads.complete(SERVICE, place, completion([named(1, large)]))).rejects.toMatchObject(
      { code: 'TransactionConflict' },
    )
    await there.uploads.complete(SERVICE, place, completion([named(1, large), named(2, other)]))
    expect((await objectAt('a'))?.bytes.equals(Buffer.concat([large, other]))).toBe(true)
    expect(await leftovers()).toEqual(NONE)
  })

  it('judges a condition before anything is made, and again with the row', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, small))
    const isNew = completion([], { ifNoneMatch: '*' })
    beforeAssembly = async () => {
      await site.admin`insert into storage.objects (bucket_id, name) values (${bucket}, 'a')`
    }
    await expect(here.uploads.complete(SERVICE, place, isNew)).rejects.toMatchObject({
      code: 'PreconditionFailed',
    })
    beforeAssembly = async () => {
      throw new Error('nothing is to be made')
    }
    await expect(here.uploads.complete(SERVICE, place, isNew)).rejects.toMatchObject({
      code: 'PreconditionFailed',
    })
    beforeAssembly = async () => {}
    await here.uploads.complete(SERVICE, place, completion([], { ifMatch: '*' }))
    expect((await objectAt('a'))?.bytes.equals(small)).toBe(true)
  })
})

describe('the limits', () => {
  it('are those of the object for all parts together, before their bytes are read', async () => {
    const { id } = await site.bucket({ fileSizeLimit: 11 * MIB })
    const place = await begin(here, id, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, large))
    await here.uploads.addPart(SERVICE, place, part(2, large))
    const unread = new Readable({
      read() {
        throw new Error('nobody should read this')
      },
    })
    const add = (number: number) => there.uploads.addPart(SERVICE, place, part(number, large, unread))
    await expect(add(3)).rejects.toMatchObject({ code: 'EntityTooLarge' })
    // One that is sent again takes its own place.
    await here.uploads.addPart(SERVICE, place, part(2, other))
    await here.uploads.complete(SERVICE, place, completion())
    expect((await site.admin`select from storage.objects where bucket_id = ${id}`).length).toBe(1)
  })

  it('hold for parts that come at the same time', async () => {
    const { id } = await site.bucket({ fileSizeLimit: 11 * MIB })
    const place = await begin(here, id, 'a')
    const first = await beginPart(place, 1, large)
    await here.uploads.addPart(SERVICE, place, part(2, large))
    await expect(here.uploads.addPart(SERVICE, place, part(3, large))).rejects.toMatchObject({
      code: 'EntityTooLarge',
    })
    // Another server does not know of it, until it is to be kept.
    await there.uploads.addPart(SERVICE, place, part(4, large))
    expect(await first.finish()).toBe('EntityTooLarge')
    const { parts } = await here.uploads.parts(SERVICE, place, 0, 10)
    expect(parts.map(({ number }) => number)).toEqual([2, 4])
  })

  it('are those of a share: so many uploads, and so many bytes', async () => {
    const share = `subject ${bucket}`
    const places = []
    for (let i = 0; i < BOUNDS.uploads; i++) places.push(await begin(here, bucket, `a${i}`, { share }))
    await expect(begin(there, bucket, 'more', { share })).rejects.toMatchObject({ code: 'TooManyUnfinished' })
    const full = bytesOf(12 * MIB)
    for (const place of places) await here.uploads.addPart(SERVICE, place, part(1, full))
    const [first] = places
    if (!first) throw new Error('there are some')
    await expect(here.uploads.addPart(SERVICE, first, part(2, small))).rejects.toMatchObject({
      code: 'TooManyUnfinished',
    })
    await here.uploads.abort(SERVICE, first)
    await begin(there, bucket, 'more', { share })
  })

  it('of a share hold for parts that come at the same time, each to an upload of its own', async () => {
    const share = `subject ${bucket}`
    const fill = bytesOf(25 * MIB)
    const places: UploadPlace[] = []
    for (let i = 0; i < BOUNDS.uploads; i++) places.push(await begin(here, bucket, `a${i}`, { share }))
    const [first, second, third, elsewhere] = places
    if (!first || !second || !third || !elsewhere) throw new Error('there are some')
    const slow = await Promise.all([first, second].map((place) => beginPart(place, 1, fill)))
    const unread = new Readable({
      read() {
        throw new Error('nobody should read this')
      },
    })
    // Neither a third upload nor the same part once more has room while they come.
    for (const place of [third, first]) {
      await expect(here.uploads.addPart(SERVICE, place, part(1, fill, unread))).rejects.toMatchObject({
        code: 'TooManyUnfinished',
      })
    }
    // Who has another share is not in their way, and neither is the service.
    const innocent = await begin(here, bucket, 'innocent', { share: `other ${bucket}` })
    await here.uploads.addPart(SERVICE, innocent, part(1, fill))
    // Another server does not know of them, until they are to be kept.
    await there.uploads.addPart(SERVICE, elsewhere, part(1, fill))
    const outcomes = await Promise.all(slow.map(({ finish }) => finish()))
    expect(outcomes.sort()).toEqual(['TooManyUnfinished', 'kept'])
    const [kept] = await site.admin`
      select sum(in_progress_size)::int as bytes from storage.s3_multipart_uploads
      where bucket_id = ${bucket} and key like 'a%'`
    expect(kept?.bytes).toBe(50 * MIB)
    expect((await leftovers()).unfinished).toBe(3)
  })

  it('of a share hold for parts that other servers keep at the same time', async () => {
    const share = `subject ${bucket}`
    const fill = bytesOf(25 * MIB)
    const places: UploadPlace[] = []
    for (let i = 0; i < 4; i++) places.push(await begin(here, bucket, `a${i}`, { share }))
    const outcomes = await Promise.allSettled(
      places.map((place, i) => (i < 2 ? here : there).uploads.addPart(SERVICE, place, part(1, fill))),
    )
    const states = outcomes.map((outcome) =>
      outcome.status === 'rejected' ? outcome.reason.code : outcome.status,
    )
    expect(states.sort()).toEqual(['TooManyUnfinished', 'TooManyUnfinished', 'fulfilled', 'fulfilled'])
    expect((await leftovers()).unfinished).toBe(2)
  })
})

it('is told of which parts it is made in time that grows with their number, and not with its square', async () => {
  const place = await begin(here, bucket, 'a')
  /** Milliseconds to name all but one of so many parts. What was done is taken back. */
  const duration = async (parts: number) => {
    let took = Number.NaN
    const undone = site.admin.begin(async (tx) => {
      // As of a server that has done it some times.
      await tx`set local plan_cache_mode = force_generic_plan`
      await tx`
        insert into storage.s3_multipart_uploads_parts (upload_id, part_number, bucket_id, key, etag, version, notes, size)
        select id, n, bucket_id, key, '', version, '', 1
        from storage.s3_multipart_uploads, generate_series(1, ${parts}::int) n where id = ${place.uploadId}`
      const [upload] = await tx`
        select r.id, r.attempt, array_agg(p.id) filter (where p.part_number > 1) as named
        from storage.s3_multipart_uploads m join storage.resumable_uploads r on r.id = m.upload
        join storage.s3_multipart_uploads_parts p on p.upload_id = m.id where m.id = ${place.uploadId} group by r.id`
      const begunAt = performance.now()
      const [row] = await tx`
        select storage.list_parts(${upload?.id}, ${upload?.attempt}, ${upload?.named}, 'these') as listed`
      took = performance.now() - begunAt
      const [left] = await tx`
        select count(*)::int as parts, min(part_number) as first
        from storage.s3_multipart_uploads_parts where upload_id = ${place.uploadId}`
      expect([row?.listed, left]).toEqual([true, { parts: parts - 1, first: 2 }])
      throw new Error('undo')
    })
    await expect(undone).rejects.toThrow('undo')
    return took
  }
  let [some, all] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  // The least of each, which other work on the machine makes longer and nothing shorter.
  for (let round = 0; round < 5 || (round < 20 && all / some >= 30); round++) {
    some = Math.min(some, await duration(1000))
    all = Math.min(all, await duration(10_000))
  }
  // Ten times as many: ten times the time, or a hundred times.
  expect(all / some).toBeLessThan(30)
})

describe('who may', () => {
  const me = callerOf('authenticated', 'me')

  it('begin, add and complete is for the policies to say, each time; to go on with it, for its uploader', async () => {
    const { id } = await site.bucket({ policy: 'authenticated' })
    const closed = await site.bucket()
    await expect(begin(here, closed.id, 'a', { caller: me })).rejects.toMatchObject({ code: 'AccessDenied' })
    const place = await begin(here, id, 'a', { caller: me })
    const stranger = callerOf('authenticated', 'stranger')
    await here.uploads.addPart(me, place, part(1, small))
    for (const attempt of [
      () => here.uploads.addPart(stranger, place, part(1, small)),
      () => here.uploads.complete(stranger, place, completion()),
      () => here.uploads.abort(stranger, place),
      () => here.uploads.parts(stranger, place, 0, 10),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'AccessDenied' })
    }
    await site.admin`update storage.buckets set policy = 'private' where id = ${id}`
    for (const attempt of [
      () => here.uploads.addPart(me, place, part(1, small)),
      () => here.uploads.complete(me, place, completion()),
      () => here.uploads.abort(me, place),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ code: 'AccessDenied' })
    }
    // The service may, in the name of who has begun it.
    await here.uploads.complete(SERVICE, place, completion())
    const [row] = await site.admin`select owner_id from storage.objects where bucket_id = ${id}`
    expect(row?.owner_id).toBe('me')
  })

  it('list: by name and age, the own ones, below a prefix, folders as one', async () => {
    const { id } = await site.bucket({ policy: 'authenticated' })
    const ids: string[] = []
    for (const name of ['b', 'a/1', 'a/2', 'c', 'c']) {
      ids.push((await begin(here, id, name, { caller: me })).uploadId)
      const begun = Date.now()
      await until(() => Date.now() > begun, 'the next one is younger by its id')
    }
    await begin(here, id, 'd', { caller: callerOf('authenticated', 'stranger') })
    const all = { bucketId: id, prefix: '', delimiter: '', after: { name: '', id: null }, limit: 10 }
    const list = async (query: Partial<typeof all> | { after: { name: string; id: string } }, caller = me) =>
      (await here.uploads.list(caller, 'asker', { ...all, ...query })).map(({ name, id }) => [name, id])
    const [b, a1, a2, c1, c2] = ids
    expect(await list({})).toEqual([
      ['a/1', a1],
      ['a/2', a2],
      ['b', b],
      ['c', c1],
      ['c', c2],
    ])
    expect(await list({ delimiter: '/' })).toEqual([
      ['a/', null],
      ['b', b],
      ['c', c1],
      ['c', c2],
    ])
    expect(await list({ delimiter: '/', after: { name: 'a/', id: null } })).toEqual([
      ['b', b],
      ['c', c1],
      ['c', c2],
    ])
    expect(await list({ prefix: 'a/' })).toEqual([
      ['a/1', a1],
      ['a/2', a2],
    ])
    expect(await list({ after: { name: 'c', id: c1 ?? '' } })).toEqual([['c', c2]])
    expect(await list({ after: { name: 'b', id: null }, limit: 1 })).toEqual([['c', c1]])
    expect((await list({}, SERVICE)).length).toBe(6)
    await expect(list({ bucketId: 'nowhere' } as never)).rejects.toMatchObject({ code: 'NoSuchBucket' })
  })
})

describe('plain SQL', () => {
  it('gives an upload up by deleting its row, or its bucket', async () => {
    const place = await begin(here, bucket, 'a')
    await here.uploads.addPart(SERVICE, place, part(1, small))
    await site.admin`delete from storage.s3_multipart_uploads where id = ${place.uploadId}`
    await expect(here.uploads.addPart(SERVICE, place, part(2, small))).rejects.toMatchObject({
      code: 'NoSuchUpload',
    })
    const second = await begin(here, bucket, 'b')
    await here.uploads.addPart(SERVICE, second, part(1, small))
    await site.admin`delete from storage.buckets where id = ${bucket}`
    await expect(here.uploads.complete(SERVICE, second, completion())).rejects.toMatchObject({
      code: 'NoSuchUpload',
    })
    expect(await leftovers()).toEqual({ ...NONE, removals: 2, unfinished: 2 })
  })

  it('takes parts away, and the total follows', async () => {
    const place = await begin(here, bucket, 'a')
    for (const number of [1, 2]) await here.uploads.addPart(SERVICE, place, part(number, large))
    const total = async () =>
      (
        await site.admin`select in_progress_size::int as size from storage.s3_multipart_uploads where id = ${place.uploadId}`
      )[0]?.size
    expect(await total()).toBe(10 * MIB)
    await site.admin`delete from storage.s3_multipart_uploads_parts where upload_id = ${place.uploadId} and part_number = 2`
    expect(await total()).toBe(5 * MIB)
    await here.uploads.addPart(SERVICE, place, part(1, small))
    expect(await total()).toBe(1000)
  })

  it('shows an uploader his uploads and parts, and nobody the others', async () => {
    const me = callerOf('authenticated', `me-${bucket}`)
    const { id } = await site.bucket({ policy: 'authenticated' })
    const place = await begin(here, id, 'a', { caller: me })
    await here.uploads.addPart(me, place, part(1, small))
    const seenBy = (subject: string) =>
      site.admin.begin(async (tx) => {
        await tx`select set_config('request.jwt.claims', ${JSON.stringify({ sub: subject, role: 'authenticated' })}, true)`
        await tx`set local role authenticated`
        const uploads = await tx`select id from storage.s3_multipart_uploads where bucket_id = ${id}`
        const parts =
          await tx`select part_number from storage.s3_multipart_uploads_parts where bucket_id = ${id}`
        return [uploads.length, parts.length]
      })
    expect(await seenBy(`me-${bucket}`)).toEqual([1, 1])
    expect(await seenBy('stranger')).toEqual([0, 0])
  })
})

it('leaves no bytes that nothing names', async () => {
  const { versions } = await storedIn(site.backend)
  const rows = await site.admin`
    select version from storage.objects where version is not null union select version::text from storage.removals`
  const known = rows.map(({ version }) => version)
  expect(versions.filter((version) => !known.includes(version))).toEqual([])
})

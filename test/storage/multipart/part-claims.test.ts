import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import type { NumberClaim, ResumableBackend } from '../../../src/backend/resumable-backend.ts'
import type { Caller } from '../../../src/model/caller.ts'
import type { UploadPlace } from '../../../src/storage/multipart/multipart-uploads.ts'
import {
  begin,
  bytesOf,
  callerOf,
  completion,
  MIB,
  named,
  openSite,
  overriding,
  part,
  SERVICE,
  type Site,
  type UploadServer,
} from './site.ts'

/** What becomes of the next parts' claims, before their bytes are stored. */
let meet: (claim: NumberClaim | undefined) => unknown

/** One that wants a claim of each part. */
const claiming = (backend: ResumableBackend): ResumableBackend =>
  overriding(backend, {
    wantsClaim: () => true,
    writePart: async (...given) => {
      await meet(given[3].claim)
      return backend.writePart(...given)
    },
  })

let site: Site
let here: UploadServer
let there: UploadServer
let bucket: string
beforeAll(async () => {
  site = await openSite(claiming)
  ;({ here, there } = site)
})
afterAll(() => site.close())
beforeEach(async () => {
  bucket = (await site.bucket()).id
})

const large = bytesOf(5 * MIB)
const small = bytesOf(1000)

/** Sends a part, which uses its number if it has a claim of it. @returns whether it had one */
async function send(server: UploadServer, place: UploadPlace, number: number, caller: Caller = SERVICE) {
  let isClaimed = false
  meet = (claim) => {
    claim?.use()
    isClaimed = claim !== undefined
  }
  await server.uploads.addPart(caller, place, part(number, large))
  return isClaimed
}

async function claimed(): Promise<number[]> {
  const rows = await site.admin`select number from storage.part_claims order by number`
  return rows.map(({ number }) => number)
}

it('a number is that of the first part that has it, through whichever server', async () => {
  const place = await begin(here, bucket, 'a')
  expect(await send(there, place, 1)).toBe(true)
  expect(await send(here, place, 1)).toBe(false)
  expect(await send(there, place, 1)).toBe(false)
  expect(await send(here, place, 2)).toBe(true)
  expect(await claimed()).toEqual([1, 2])
  let count = 0
  meet = (claim) => {
    claim?.use()
    if (claim) count++
  }
  const add = (server: UploadServer) => server.uploads.addPart(SERVICE, place, part(3, large))
  await Promise.all([here, there, here, there].map(add))
  expect(count).toBe(1)
  await here.uploads.abort(SERVICE, place)
})

it('a number that was not used is left to the next part that has it', async () => {
  const place = await begin(here, bucket, 'a')
  meet = () => {}
  await here.uploads.addPart(SERVICE, place, part(1, large))
  meet = () => {
    throw new Error('the store is away')
  }
  await expect(there.uploads.addPart(SERVICE, place, part(1, large))).rejects.toThrow('away')
  expect(await claimed()).toEqual([])
  expect(await send(there, place, 1)).toBe(true)
  await here.uploads.abort(SERVICE, place)
})

it('a part that is refused before its bytes claims nothing', async () => {
  const me = callerOf('authenticated', 'me')
  const { id } = await site.bucket({ policy: 'authenticated', fileSizeLimit: 6 * MIB })
  const place = await begin(here, id, 'a', { caller: me, share: 'me' })
  meet = () => {
    throw new Error('nothing is to be stored')
  }
  const sends = async (caller: Caller, size: number, to = place) => {
    const { open } = part(1, large)
    await there.uploads.addPart(caller, to, { number: 1, size, open })
  }
  await expect(sends(me, 7 * MIB)).rejects.toMatchObject({ code: 'EntityTooLarge' })
  await expect(sends(callerOf('authenticated', 'stranger'), 1)).rejects.toMatchObject({
    code: 'AccessDenied',
  })
  await expect(sends(me, 1, { ...place, name: 'b' })).rejects.toMatchObject({ code: 'NoSuchUpload' })
  await site.admin`update storage.buckets set policy = 'private' where id = ${id}`
  await expect(sends(me, 1)).rejects.toMatchObject({ code: 'AccessDenied' })
  expect(await claimed()).toEqual([])
  await here.uploads.abort(SERVICE, place)
})

it('what one server notes for all parts, all are told', async () => {
  const place = await begin(here, bucket, 'a')
  const notes: (string | null)[] = []
  const noting = (mine: string) => async (claim: NumberClaim | undefined) => {
    notes.push(claim?.notes ?? null, (await claim?.note(mine)) ?? null)
  }
  meet = noting('first')
  await here.uploads.addPart(SERVICE, place, part(1, large))
  meet = noting('second')
  await there.uploads.addPart(SERVICE, place, part(2, large))
  expect(notes).toEqual([null, 'first', 'first', 'first'])
  await here.uploads.abort(SERVICE, place)
})

it('nothing is noted for an upload that has ended meanwhile, and no claim is left of it', async () => {
  for (const end of ['abort', 'complete', 'delete'] as const) {
    const place = await begin(here, bucket, end)
    await send(here, place, 1)
    meet = async (claim) => {
      claim?.use()
      if (end === 'abort') await there.uploads.abort(SERVICE, place)
      if (end === 'complete') await there.uploads.complete(SERVICE, place, completion())
      if (end === 'delete') {
        await site.admin`delete from storage.s3_multipart_uploads where id = ${place.uploadId}`
      }
      await claim?.note('mine')
    }
    await expect(here.uploads.addPart(SERVICE, place, part(2, large))).rejects.toMatchObject({
      code: 'NoSuchUpload',
    })
    expect(await claimed()).toEqual([])
  }
})

it('once a version is being made of parts, none claims a number any more', async () => {
  const place = await begin(here, bucket, 'a')
  await send(here, place, 1)
  await send(here, place, 2)
  // As a server leaves it that was killed before it has made anything.
  await site.admin`
    update storage.s3_multipart_uploads set list = 'those' where id = ${place.uploadId}`
  await expect(send(there, place, 3)).rejects.toMatchObject({ code: 'OperationAborted' })
  expect(await claimed()).toEqual([1, 2])
  await site.admin`update storage.s3_multipart_uploads set list = null where id = ${place.uploadId}`
  await there.uploads.complete(SERVICE, place, completion([named(1, large), named(2, large)]))
  expect(await claimed()).toEqual([])
})

it('a bucket is deleted while parts claim their numbers, and none waits for the other for ever', async () => {
  meet = (claim) => claim?.use()
  for (let round = 0; round < 5; round++) {
    const { id } = await site.bucket()
    const place = await begin(here, id, 'a')
    const sending = [1, 2, 3, 4].map((number) =>
      [here, there][number % 2]?.uploads.addPart(SERVICE, place, part(number, small)),
    )
    const deleting = site.admin`delete from storage.buckets where id = ${id}`.execute()
    for (const outcome of await Promise.allSettled(sending)) {
      if (outcome.status === 'rejected') expect(outcome.reason.code).toMatch(/^NoSuch(?:Upload|Bucket)$/)
    }
    await deleting
  }
  expect(await claimed()).toEqual([])
})

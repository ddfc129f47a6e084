import { expect, it } from 'vitest'
import { describeClientInBothModes, ok, refused, textOf } from './describe-client.ts'

describeClientInBothModes((clients) => {
  /** A bucket with one object that has everything. */
  async function bucketWithPhoto() {
    const bucket = await clients.bucket()
    const of = clients.service.from(bucket)
    const photo = new Blob(['pixels'], { type: 'image/png' })
    ok(await of.upload('photo.png', photo, { cacheControl: '60', metadata: { album: 'summer' } }))
    return { bucket, of, info: ok(await of.info('photo.png')) }
  }

  /** What a move or copy brings along. */
  const kept = {
    size: 6,
    contentType: 'image/png',
    cacheControl: 'max-age=60',
    metadata: { album: 'summer' },
  }

  it('moves an object, with all that is known of it and without a byte moved', async () => {
    const { of, info } = await bucketWithPhoto()
    const filesBefore = await clients.server.storedFiles()

    expect(ok(await of.move('photo.png', 'deep/new.png'))).toEqual({ message: 'Successfully moved' })

    expect(await textOf(of, 'deep/new.png')).toBe('pixels')
    expect(ok(await of.info('deep/new.png'))).toMatchObject({
      ...kept,
      id: info.id,
      createdAt: info.createdAt,
    })
    expect((await of.exists('photo.png')).data).toBe(false)
    expect(await clients.server.storedFiles()).toEqual(filesBefore)
  })

  it('moves an object to another bucket, where it outlives the first', async () => {
    const before = await clients.stored()
    const { bucket, of, info } = await bucketWithPhoto()
    const destinationBucket = await clients.bucket()
    const there = clients.service.from(destinationBucket)

    ok(await of.move('photo.png', 'photo.png', { destinationBucket }))
    ok(await clients.service.deleteBucket(bucket))

    expect(await textOf(there, 'photo.png')).toBe('pixels')
    expect(ok(await there.info('photo.png'))).toMatchObject({ ...kept, id: info.id })
    ok(await there.remove(['photo.png']))
    expect(await clients.stored()).toEqual(before)
  })

  it('copies an object, with bytes of its own and all that is known of it', async () => {
    const { bucket, of, info } = await bucketWithPhoto()
    const before = await clients.stored()

    expect(ok(await of.copy('photo.png', 'deep/copy.png'))).toEqual({ path: `${bucket}/deep/copy.png` })

    const copy = ok(await of.info('deep/copy.png'))
    expect(copy).toMatchObject(kept)
    expect(copy.id).not.toBe(info.id)
    expect(await clients.stored()).toEqual({ rows: before.rows + 1, files: before.files + 1 })
    ok(await of.update('photo.png', 'other'))
    ok(await of.remove(['photo.png']))
    expect(await textOf(of, 'deep/copy.png')).toBe('pixels')
  })

  it('copies an object to another bucket', async () => {
    const { of } = await bucketWithPhoto()
    const destinationBucket = await clients.bucket()

    const { path } = ok(await of.copy('photo.png', 'copy.png', { destinationBucket }))

    expect(path).toBe(`${destinationBucket}/copy.png`)
    const there = clients.service.from(destinationBucket)
    expect(await textOf(there, 'copy.png')).toBe('pixels')
    expect(ok(await there.info('copy.png'))).toMatchObject(kept)
    expect(await textOf(of, 'photo.png')).toBe('pixels')
  })

  it.each(['move', 'copy'] as const)('never overwrites by %s', async (operation) => {
    const { of } = await bucketWithPhoto()
    ok(await of.upload('taken.png', 'mine'))
    const before = await clients.stored()

    const answer = await of[operation]('photo.png', 'taken.png')

    expect(refused(answer)).toEqual(clients.refusal(409, 'The resource already exists'))
    expect(await textOf(of, 'photo.png')).toBe('pixels')
    expect(await textOf(of, 'taken.png')).toBe('mine')
    expect(await clients.stored()).toEqual(before)
  })

  it('moves an object onto itself without a change', async () => {
    const { of, info } = await bucketWithPhoto()

    ok(await of.move('photo.png', 'photo.png'))

    expect(ok(await of.info('photo.png'))).toEqual(info)
  })

  it.each(['move', 'copy'] as const)('refuses to %s to where it may not be', async (operation) => {
    const { of } = await bucketWithPhoto()
    const textOnly = await clients.bucket({ allowed_mime_types: ['text/*'] })
    const tiny = await clients.bucket({ file_size_limit: 5 })
    const before = await clients.stored()
    const to = (destinationBucket: string) => of[operation]('photo.png', 'a', { destinationBucket })

    expect(refused(await to('absent'))).toEqual(clients.refusal(404, 'Bucket not found'))
    expect(refused(await to(textOnly))).toEqual(clients.refusal(415, 'mime type image/png is not supported'))
    expect(refused(await to(tiny)).statusCode).toBe('413')
    expect(refused(await of[operation]('photo.png', '')).statusCode).toBe('400')

    expect(await textOf(of, 'photo.png')).toBe('pixels')
    expect(await clients.stored()).toEqual(before)
  })

  it.each(['move', 'copy'] as const)('lets nobody %s what they may not see or write', async (operation) => {
    const { bucket, of } = await bucketWithPhoto()
    const open = await clients.bucket({ policy: 'authenticated' })
    const closed = await clients.bucket()
    const stranger = clients.user('a-stranger')
    ok(await stranger.from(open).upload('own.png', 'own'))
    const before = await clients.stored()

    const steal = await stranger
      .from(bucket)
      [operation]('photo.png', 'stolen.png', { destinationBucket: open })
    expect(refused(steal)).toEqual(clients.refusal(404, 'Object not found'))
    const smuggle = await stranger.from(open)[operation]('own.png', 'in.png', { destinationBucket: closed })
    expect(refused(smuggle)).toEqual(clients.refusal(403, 'new row violates row-level security policy'))

    expect(await textOf(of, 'photo.png')).toBe('pixels')
    expect(await textOf(stranger.from(open), 'own.png')).toBe('own')
    expect(await clients.stored()).toEqual(before)
  })

  it('removes objects, tells of their rows, and leaves out what is not there', async () => {
    const { bucket, of, info } = await bucketWithPhoto()
    ok(await of.upload('stays.txt', 'x'))
    const before = await clients.stored()

    const removed = ok(await of.remove(['photo.png', 'absent', 'photo.png', 'stays']))

    expect(removed).toMatchObject([
      { name: 'photo.png', id: info.id, bucket_id: bucket, metadata: { size: 6, mimetype: 'image/png' } },
    ])
    expect(removed).toHaveLength(1)
    expect(ok(await of.list()).map((entry) => entry.name)).toEqual(['stays.txt'])
    expect(await clients.stored()).toEqual({ rows: before.rows - 1, files: before.files - 1 })
    expect(ok(await of.remove(['photo.png']))).toEqual([])
    expect(ok(await clients.service.from('absent').remove(['photo.png']))).toEqual([])
  })

  it('removes exact names only: a folder is none', async () => {
    const { of } = await bucketWithPhoto()
    ok(await of.upload('folder/a.txt', 'x'))

    expect(ok(await of.remove(['folder', 'folder/', 'phot', 'PHOTO.PNG']))).toEqual([])
    expect(await textOf(of, 'folder/a.txt')).toBe('x')
  })

  it('removes more names at once than one transaction takes', async () => {
    const bucket = await clients.bucket()
    await clients.server.admin`insert into storage.objects (bucket_id, name)
      select ${bucket}, 'row-' || n from generate_series(1, 1200) n`
    const names = Array.from({ length: 1200 }, (_, index) => `row-${index + 1}`)

    const removed = ok(await clients.service.from(bucket).remove(names))

    expect(new Set(removed.map((row) => row.name))).toEqual(new Set(names))
    expect(ok(await clients.service.from(bucket).list())).toEqual([])
  })

  it('refuses to remove nothing', async () => {
    const { of } = await bucketWithPhoto()

    expect(refused(await of.remove([]))).toMatchObject({ status: 400, statusCode: '400' })
  })
})

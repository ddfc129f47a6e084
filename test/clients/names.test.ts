import { expect, it } from 'vitest'
import {
  type Clients,
  describeClient,
  describeClientInBothModes,
  ok,
  refused,
  textOf,
} from './describe-client.ts'

interface Case {
  name: string
  /** Where storage-js puts the path into a URL as it is given, `?`, `#` and `%` must have been encoded before. */
  inUrl?: string
  /** storage-js encodes neither `?` nor `#` in public URLs, so these cannot be fetched. */
  without?: 'public URL'[]
}

const ASCII: Case[] = [
  { name: 'with space.txt' },
  { name: "it's (a) test! *.txt" },
  { name: 'a+b&c=d;e:f,g@h$i.txt' },
  { name: '_-.txt' },
  { name: '.hidden/...dots/..a' },
  { name: 'what?.txt', inUrl: 'what%3F.txt', without: ['public URL'] },
  { name: 'what?token=x&y.txt', inUrl: 'what%3Ftoken=x&y.txt', without: ['public URL'] },
]

const UNICODE: Case[] = [
  { name: '[id].png' },
  { name: '{a}|b^c~`d.txt' },
  { name: '<"quoted">.txt' },
  { name: 'naïve.txt' },
  { name: '图/图.png' },
  { name: 'مرحبا.txt' },
  { name: 'rocket 🚀 👩‍👩‍👧.txt' },
  { name: '100%.txt', inUrl: '100%25.txt' },
  { name: '%41%2F.txt', inUrl: '%2541%252F.txt' },
  { name: 'a#b.txt', inUrl: 'a%23b.txt', without: ['public URL'] },
  { name: '50%25 off #1?.txt', inUrl: '50%2525%20off%20%231%3F.txt', without: ['public URL'] },
  { name: 'back\\slash.txt', inUrl: 'back%5Cslash.txt', without: ['public URL'] },
  { name: 'é'.normalize('NFC') },
  { name: 'é'.normalize('NFD') },
  { name: '长'.repeat(341) },
]

/** Uploads, lists, signs, moves and copies under the name: every way a name travels. */
function itServesTheName(clients: Clients, cases: Case[]): void {
  it.each(cases)(
    'serves an object named $name in every way',
    async ({ name, inUrl = name, without = [] }) => {
      const bucket = await clients.bucket({ public: true })
      const of = clients.service.from(bucket)

      expect(ok(await of.upload(inUrl, name)).fullPath).toBe(`${bucket}/${name}`)

      expect(await textOf(of, inUrl)).toBe(name)
      expect(ok(await of.info(inUrl)).name).toBe(name)
      expect((await of.exists(inUrl)).data).toBe(true)
      expect(ok(await of.listV2()).objects.map((object) => object.name)).toEqual([name])
      const cut = name.lastIndexOf('/')
      const listed = ok(await of.list(name.slice(0, Math.max(cut, 0))))
      expect(listed.map((entry) => entry.name)).toEqual([name.slice(cut + 1)])

      const urls = [
        ...(without.includes('public URL') ? [] : [of.getPublicUrl(name).data.publicUrl]),
        ok(await of.createSignedUrl(inUrl, 60)).signedUrl,
        ok(await of.createSignedUrls([name], 60))[0]?.signedUrl ?? '',
      ]
      for (const url of urls) expect(await (await fetch(url)).text(), url).toBe(name)

      ok(await of.move(name, 'plain.txt'))
      ok(await of.copy('plain.txt', name))
      expect(await textOf(of, inUrl)).toBe(name)
      expect(ok(await of.remove([name])).map((row) => row.name)).toEqual([name])
      expect((await of.exists(inUrl)).data).toBe(false)

      const upload = ok(await of.createSignedUploadUrl(inUrl))
      ok(await of.uploadToSignedUrl(inUrl, upload.token, 'signed'))
      expect(await textOf(of, inUrl)).toBe('signed')
      expect((await fetch(upload.signedUrl, { method: 'PUT', body: 'x' })).ok).toBe(false) // there already
    },
  )
}

describeClientInBothModes((clients) => {
  itServesTheName(clients, ASCII)

  it('serves a name with empty segments, which the client cannot upload but make by copy', async () => {
    const of = clients.service.from(await clients.bucket({ public: true }))
    ok(await of.upload('a/b', 'single'))
    ok(await of.copy('a/b', 'a//b'))
    ok(await of.update('a/b', 'changed'))

    expect(await textOf(of, 'a//b')).toBe('single')
    expect(await (await fetch(of.getPublicUrl('a//b').data.publicUrl)).text()).toBe('single')
    expect(await (await fetch(ok(await of.createSignedUrl('a//b', 60)).signedUrl)).text()).toBe('single')
    expect(ok(await of.listV2()).objects.map((object) => object.name)).toEqual(['a//b', 'a/b'])
    expect(ok(await of.remove(['a//b']))).toHaveLength(1)
    expect(await textOf(of, 'a/b')).toBe('changed')
  })

  it('keeps names apart that differ in case alone', async () => {
    const of = clients.service.from(await clients.bucket())
    for (const name of ['a.txt', 'A.txt', 'A.TXT']) ok(await of.upload(name, name))

    for (const name of ['a.txt', 'A.txt', 'A.TXT']) expect(await textOf(of, name)).toBe(name)
  })

  it.each(['a\0b', 'a\nb', 'a\u007fb', 'x'.repeat(1025)])('refuses the name %j everywhere', async (name) => {
    const of = clients.service.from(await clients.bucket())
    ok(await of.upload('a', 'x'))
    const before = await clients.stored()
    const inUrl = encodeURIComponent(name)

    expect(refused(await of.upload(inUrl, 'x'))).toMatchObject({ status: 400, statusCode: '400' })
    expect(refused(await of.upload(inUrl, new Blob(['x']))).message).toMatch(/^Invalid key: /)
    expect(refused(await of.move('a', name)).message).toMatch(/^Invalid key: /)
    expect(refused(await of.copy('a', name)).message).toMatch(/^Invalid key: /)
    expect(refused(await of.createSignedUploadUrl(inUrl)).message).toMatch(/^Invalid key: /)
    expect(ok(await of.remove([name]))).toEqual([])
    expect(await clients.stored()).toEqual(before)
  })

  it.each(['a\0b', 'a\nb', 'folder/', 'x'.repeat(1025)])('says that nothing is named %j', async (name) => {
    const of = clients.service.from(await clients.bucket())
    const inUrl = name.endsWith('/') ? name : encodeURIComponent(name)
    const missing = clients.refusal(404, 'Object not found')

    expect((await of.exists(inUrl)).data).toBe(false)
    expect(refused(await of.info(inUrl))).toEqual(missing)
    expect((await of.download(inUrl)).error).not.toBeNull()
    expect(refused(await of.createSignedUrl(inUrl, 60))).toEqual(missing)
    expect(ok(await of.createSignedUrls([name], 60))).toMatchObject([{ signedUrl: null }])
  })
})

describeClient('by default, with any Unicode', {}, (clients) => {
  itServesTheName(clients, UNICODE)

  it('does not take two spellings of one letter for the same name', async () => {
    const of = clients.service.from(await clients.bucket())
    for (const form of ['NFC', 'NFD']) ok(await of.upload('é'.normalize(form), form))

    for (const form of ['NFC', 'NFD']) expect(await textOf(of, 'é'.normalize(form))).toBe(form)
  })
})

describeClient('under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }, (clients) => {
  it.each(UNICODE.slice(0, -1))(
    'refuses the name $name, as Supabase does',
    async ({ name, inUrl = name }) => {
      const of = clients.service.from(await clients.bucket())
      ok(await of.upload('a', 'x'))
      const before = await clients.stored()
      const refusal = clients.refusal(400, `Invalid key: ${name}`)

      expect(refused(await of.upload(inUrl, 'x'))).toEqual(refusal)
      expect(refused(await of.upload(inUrl, new Blob(['x'])))).toEqual(refusal)
      expect(refused(await of.copy('a', name))).toEqual(refusal)
      expect(refused(await of.move('a', name))).toEqual(refusal)
      expect(await clients.stored()).toEqual(before)
    },
  )
})

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { besideInnocent } from './support/innocent.ts'

/*
 * An attacker with the anonymous key, or signed in, is after what others have overwritten and deleted: what policies hide is to
 * him as what never was, whichever way he asks, and none of it may be gone afterwards.
 */

const OWN = `create policy own on storage.objects for all to authenticated
  using (owner_id = auth.jwt() ->> 'sub') with check (owner_id = auth.jwt() ->> 'sub')`

describe.each(['default', 'supabase'] as const)('under %s rules', (mode) => {
  let server: TestServer
  let victim: string
  let attacker: string
  beforeAll(async () => {
    server = await startTestServer(mode === 'supabase' ? { STORAGE_COMPAT: mode } : {})
    victim = await server.token('victim')
    attacker = await server.token('attacker')
  })
  afterAll(() => server.close())

  type Token = string | null | undefined
  async function ask(token: Token, method: string, path: string, body?: object | string) {
    const response = await server.request(method, path, {
      ...(token !== undefined && { token }),
      ...(body !== undefined && { body }),
    })
    return { status: response.status, text: await response.text() }
  }

  /** A bucket in which the victim has overwritten `a`, and deleted `gone`; all ids of versions that are in it, by their names. */
  async function vault() {
    const bucket = `vault-${randomUUID()}`
    await server.createBucket(bucket, { versioning_status: 'ENABLED' })
    await server.admin`update storage.buckets set owner_id = 'victim' where id = ${bucket}`
    for (const path of ['a', 'a', 'gone']) {
      expect((await ask(victim, 'PUT', `/object/${bucket}/${path}`, 'secret')).status).toBeLessThan(300)
    }
    expect((await ask(victim, 'DELETE', `/object/${bucket}/gone`)).status).toBeLessThan(300)
    const rows = await server.admin<{ name: string; version: string; is_delete_marker: boolean }[]>`
      select name, version, false as is_delete_marker from storage.objects where bucket_id = ${bucket}
      union all select name, version, is_delete_marker from storage.object_versions where bucket_id = ${bucket}`
    return { bucket, rows }
  }

  const everything = (bucket: string) => server.admin`
    select name, version, 'object' as kind from storage.objects where bucket_id = ${bucket}
    union all select name, version, kind from storage.object_versions where bucket_id = ${bucket} order by version`

  /** Each way to ask for one version. */
  const QUESTIONS: Record<
    string,
    (token: Token, bucket: string, name: string, version: string) => ReturnType<typeof ask>
  > = {
    read: (token, bucket, name, version) =>
      ask(token, 'GET', `/object/${bucket}/${name}?versionId=${version}`),
    'read with a token': (token, bucket, name, version) =>
      ask(token, 'GET', `/object/authenticated/${bucket}/${name}?versionId=${version}`),
    'read as public': (token, bucket, name, version) =>
      ask(token, 'GET', `/object/public/${bucket}/${name}?versionId=${version}`),
    info: (token, bucket, name, version) =>
      ask(token, 'GET', `/object/info/${bucket}/${name}?versionId=${version}`),
    head: (token, bucket, name, version) =>
      ask(token, 'HEAD', `/object/${bucket}/${name}?versionId=${version}`),
    sign: (token, bucket, name, versionId) =>
      ask(token, 'POST', `/object/sign/${bucket}/${name}`, { expiresIn: 60, versionId }),
    copy: (token, bucketId, sourceKey, sourceVersionId) =>
      ask(token, 'POST', '/object/copy', { bucketId, sourceKey, destinationKey: 'mine', sourceVersionId }),
    move: (token, bucketId, sourceKey, sourceVersionId) =>
      ask(token, 'POST', '/object/move', { bucketId, sourceKey, destinationKey: 'mine', sourceVersionId }),
    restore: (token, bucket, path, version_id) =>
      ask(token, 'POST', '/versions/restore', { bucket, path, version_id }),
    delete: (token, bucket, name, version) =>
      ask(token, 'DELETE', `/object/${bucket}/${name}?versionId=${version}`),
    'delete many': (token, bucket, path, versionId) =>
      ask(token, 'DELETE', `/object/${bucket}`, { prefixes: [{ path, versionId }] }),
    history: (token, bucket, name) => ask(token, 'GET', `/versions/${bucket}/${name}`),
  }
  const everyQuestion = Object.entries(QUESTIONS)
  const callers = (): [string, Token][] => [
    ['another user', attacker],
    ['the anonymous key', server.keys.anonKey],
    ['nobody', null],
  ]

  it('what is hidden is answered as what never was, and stays', async () => {
    await withPolicies(server.admin, OWN, async () => {
      const { bucket, rows } = await vault()
      const before = await everything(bucket)
      for (const [who, token] of callers()) {
        for (const [how, question] of everyQuestion) {
          const absent = await question(token, bucket, 'never', randomUUID())
          expect(absent.text, `${who}: ${how}`).not.toContain('secret')
          for (const { name, version } of rows) {
            const hidden = await question(token, bucket, name, version)
            expect(hidden, `${who}: ${how} ${name}`).toEqual(absent)
          }
        }
      }
      expect(await everything(bucket)).toEqual(before)
    })
  })

  it('who takes the name of what another has deleted has none of that', async () => {
    await withPolicies(server.admin, OWN, async () => {
      const { bucket, rows } = await vault()
      const [old] = rows.filter((row) => row.name === 'gone' && !row.is_delete_marker)
      const version = String(old?.version)
      expect((await ask(attacker, 'POST', `/object/${bucket}/gone`, 'mine')).status).toBeLessThan(300)
      const absent = randomUUID()
      for (const [how, question] of everyQuestion) {
        if (how === 'history') continue
        const hidden = await question(attacker, bucket, 'gone', version)
        expect(hidden, how).toEqual(await question(attacker, bucket, 'gone', absent))
        expect(hidden.text, how).not.toContain('secret')
      }
      for (const [path, body] of [
        ['list', { prefix: '' }],
        ['list-v2', {}],
      ] as const) {
        const answer = await ask(attacker, 'POST', `/object/${path}/${bucket}`, {
          ...body,
          noncurrentVersions: 'include',
          deleteMarkers: 'include',
        })
        expect(answer.status).toBe(200)
        expect(answer.text).not.toContain(version)
      }
      expect((await ask(attacker, 'GET', `/versions/${bucket}/gone`)).text).not.toContain(version)
      // Deleted, his is seen by him alone, and it is nothing of the other's that moves up.
      const [own] = await server.admin`
        select version from storage.objects where bucket_id = ${bucket} and name = 'gone'`
      expect((await ask(attacker, 'GET', `/object/${bucket}/gone?versionId=${own?.version}`)).text).toBe(
        'mine',
      )
      const kept = await server.admin`select from storage.object_versions where version = ${version}`
      expect(kept).toHaveLength(1)
    })
  })

  it('a list shows nothing of it', async () => {
    await withPolicies(server.admin, OWN, async () => {
      const { bucket } = await vault()
      for (const [who, token] of callers().slice(0, 2)) {
        for (const noncurrentVersions of ['include', 'only']) {
          for (const deleteMarkers of ['exclude', 'include', 'only']) {
            const asked = { noncurrentVersions, deleteMarkers }
            const level = await ask(token, 'POST', `/object/list/${bucket}`, { prefix: '', ...asked })
            expect([level.status, JSON.parse(level.text)], who).toEqual([200, []])
            const page = await ask(token, 'POST', `/object/list-v2/${bucket}`, {
              prefix: 'gone',
              exactMatch: true,
              ...asked,
            })
            expect(JSON.parse(page.text), who).toEqual({ hasNext: false, folders: [], objects: [] })
          }
        }
      }
    })
  })

  it('a link to one version opens no other, whatever is written behind it', async () => {
    const { bucket, rows } = await vault()
    await ask(undefined, 'PUT', `/object/${bucket}/a`, 'public')
    const sign = async (body: object) => {
      const { text } = await ask(undefined, 'POST', `/object/sign/${bucket}/a`, { expiresIn: 60, ...body })
      return String(JSON.parse(text).signedURL)
    }
    const [secret] = rows.filter(({ name }) => name === 'a')
    const now = await sign({})
    const [then] = await server.admin`
      select to_char(archived_at - interval '1 microsecond', 'YYYY-MM-DD"T"HH24:MI:SS.US') || 'Z' as at
      from storage.object_versions where version = ${String(secret?.version)}`
    for (const more of [
      `&at=${then?.at}`,
      `&versionId=${secret?.version}`,
      '&version=1',
      `&versionId=${secret?.version}&version=1`,
    ]) {
      expect(await ask(null, 'GET', now + more)).toEqual({ status: 200, text: 'public' })
    }
    // Of a version that is gone by now, nothing else comes in its place.
    const link = await sign({ versionId: secret?.version })
    expect(await ask(null, 'GET', link)).toEqual({ status: 200, text: 'secret' })
    await ask(undefined, 'DELETE', `/object/${bucket}/a?versionId=${secret?.version}`)
    const dead = await ask(null, 'GET', link)
    expect(dead.status).toBe(mode === 'supabase' ? 400 : 404)
    expect(dead.text).not.toContain('public')
  })

  it.each([
    ['empty', ''],
    ['a word', 'current'],
    ['what S3 calls the null version', 'null'],
    ['a number', '#1'],
    ['a number that is too large', '#99999999999999999999'],
    ['a number that is none', '#one'],
    ['a NUL', '\0'],
    ['half a character', '\ud800'],
    ['SQL', "' or '1'='1"],
    ['long', 'x'.repeat(4000)],
    ['a wildcard', '%'],
  ])('an id that is none is nobody’s: %s', async (_, id) => {
    const { bucket } = await vault()
    const before = await everything(bucket)
    const inUrl = encodeURIComponent(id.replace(/\p{Cs}/gu, '\ufffd'))
    for (const [how, question] of everyQuestion) {
      if (how === 'history') continue
      const isInBody = ['sign', 'copy', 'move', 'restore', 'delete many'].includes(how)
      const answer = await question(undefined, bucket, 'a', isInBody ? id : inUrl)
      expect(answer.status, `${how}: ${answer.text}`).not.toBe(500)
      // HEAD and GET of an empty id is one without.
      expect([answer.status < 400, answer.text], how).toEqual(
        how === 'delete many' ? [true, expect.stringMatching(/^\[\]\n?$|error/)] : [false, expect.anything()],
      )
    }
    for (const [method, body] of [['GET'], ['PUT', { legal_hold: true }]] as const) {
      const lock = await ask(undefined, method, `/lock/${bucket}/a?versionId=${inUrl}`, body)
      expect(lock.status, `${method} /lock: ${lock.text}`).toBeGreaterThanOrEqual(400)
      expect(lock.status, `${method} /lock: ${lock.text}`).toBeLessThan(500)
    }
    const [page, cursor] = [
      `/versions/${bucket}/a?cursor=${inUrl}`,
      { cursor: id, noncurrentVersions: 'include' },
    ]
    expect((await ask(undefined, 'GET', page)).status).toBeLessThan(500)
    expect((await ask(undefined, 'POST', `/object/list-v2/${bucket}`, cursor)).status).toBeLessThan(500)
    expect(await everything(bucket)).toEqual(before)
  })
})

describe('many versions', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer({ STORAGE_TRUST_PROXY: 'true' })
  })
  afterAll(() => server.close())

  it('of one name, ten thousand, are listed page by page, and none is read twice for it', async () => {
    await server.createBucket('deep', { versioning_status: 'ENABLED' })
    await server.request('PUT', '/object/deep/a', { body: 'now' })
    await server.admin`
      insert into storage.object_versions (kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned,
        size, owner_id, valid_from, archived_at, object_row)
      select 'version', 'deep', 'a', o.id, gen_random_uuid()::text, o.bytes_bucket, i, true, 3, null,
        now() - interval '2 days' + i * interval '1 second', now() - interval '2 days' + (i + 1) * interval '1 second', '{}'
      from storage.objects o, generate_series(1, 10000) i where o.bucket_id = 'deep'`
    const found = new Set<string>()
    const { result } = await besideInnocent(server, async () => {
      let pages = 0
      let cursor: string | undefined
      do {
        const answer = await server.request('POST', '/object/list-v2/deep', {
          body: { noncurrentVersions: 'include', ...(cursor !== undefined && { cursor }) },
        })
        const page = (await answer.json()) as { objects: { version: string }[]; nextCursor?: string }
        for (const { version } of page.objects) found.add(version)
        cursor = page.nextCursor
        pages++
      } while (cursor !== undefined)
      return pages
    })
    expect([result, found.size]).toEqual([11, 10_001])
  })

  it('asked for in one bulk delete hold up nobody', async () => {
    await server.createBucket('bulk', { versioning_status: 'ENABLED' })
    await server.request('PUT', '/object/bulk/a', { body: 'now' })
    const prefixes = Array.from({ length: 6000 }, () => ({ path: 'a', versionId: randomUUID() }))
    const { result } = await besideInnocent(server, () =>
      Promise.all(
        Array.from({ length: 4 }, async () => {
          const answer = await server.request('DELETE', '/object/bulk', {
            token: server.keys.anonKey,
            body: { prefixes },
          })
          return answer.json()
        }),
      ),
    )
    expect(result).toEqual([[], [], [], []])
    expect(await (await server.request('GET', '/object/bulk/a')).text()).toBe('now')
  })

  it('that are another’s, deleted in bulk, stay, and hold up nobody', async () => {
    await server.createBucket('others', { policy: 'authenticated', versioning_status: 'ENABLED' })
    await fill('others', 2000)
    const rows = await server.admin<{ path: string; versionId: string }[]>`
      select name as path, version as "versionId" from storage.object_versions where bucket_id = 'others'`
    const seeing = await server.token('attacker')
    const { result } = await besideInnocent(server, () =>
      Promise.all(
        [seeing, seeing, server.keys.anonKey].map(async (token) => {
          const answer = await server.request('DELETE', '/object/others', {
            token,
            body: { prefixes: [...rows] },
          })
          return answer.json()
        }),
      ),
    )
    expect(result).toEqual([[], [], []])
    const [left] = await server.admin`
      select count(*)::int from storage.object_versions where bucket_id = 'others'`
    expect(left?.count).toBe(rows.length)
  })

  it('and names that were deleted are listed a thousand at a time, as far as policies let them be seen', async () => {
    const OF_FOLDERS = `create policy folders on storage.objects for select to authenticated
      using (bucket_id = 'folders' and (storage.foldername(name))[1] = auth.jwt() ->> 'sub')`
    await withPolicies(server.admin, OF_FOLDERS, async () => {
      await server.createBucket('folders', { versioning_status: 'ENABLED' })
      await fill('folders', 2000)
      const list = async (subject: string) => {
        const answer = await server.request('POST', '/object/list-v2/folders', {
          token: await server.token(subject),
          body: { noncurrentVersions: 'include', limit: 1000 },
        })
        const { objects } = (await answer.json()) as { objects: { name: string }[] }
        return [answer.status, objects.length, objects.every(({ name }) => name.startsWith(`${subject}/`))]
      }
      const { result } = await besideInnocent(server, () => Promise.all(['f0', 'f1', 'f1', 'f2'].map(list)))
      expect(result).toEqual([
        [200, 1000, true],
        [200, 1000, true],
        [200, 1000, true],
        [200, 0, true],
      ])
    })
  })

  /** Versions of names without an object, half of them in each of two folders. */
  async function fill(bucket: string, count: number) {
    await server.admin`
      insert into storage.object_versions (kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned,
        size, owner_id, valid_from, archived_at, object_row)
      select 'version', b.id, 'f' || i % 2 || '/' || i, gen_random_uuid(), gen_random_uuid()::text, b.uid, 1, true, 3, 'victim',
        now() - interval '2 days', now(), '{"metadata":{"size":3}}'
      from storage.buckets b, generate_series(1, ${count}::integer) i where b.id = ${bucket}`
    await server.admin`analyze storage.object_versions`
  }
})

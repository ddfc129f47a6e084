import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'

/*
 * Who may do what by the bucket's policy alone (design §4): every cell over HTTP. Each cell gets an object of its
 * own, which `uploader` owns. A status is what the client gets; [1] is an answer that shows or did it, [0] an
 * empty one, which is how lists and bulk deletes refuse.
 */
const MATRIX = {
  private: `
                nobody  anonKey  stranger  uploader  owner  service
    download    404     404      404       404       200    200
    head        404     404      404       404       200    200
    info        404     404      404       404       200    200
    list        401     [0]      [0]       [0]       [1]    [1]
    listV2      401     [0]      [0]       [0]       [1]    [1]
    sign        401     404      404       404       200    200
    signMany    401     [0]      [0]       [0]       [1]    [1]
    signUpload  401     403      403       403       200    200
    upload      401     403      403       403       201    201
    overwrite   401     403      403       403       201    201
    move        401     404      404       404       200    200
    copy        401     404      404       404       200    200
    delete      401     404      404       404       204    204
    deleteMany  401     [0]      [0]       [0]       [1]    [1]`,
  authenticated: `
                nobody  anonKey  stranger  uploader  owner  service
    download    404     404      200       200       200    200
    head        404     404      200       200       200    200
    info        404     404      200       200       200    200
    list        401     [0]      [1]       [1]       [1]    [1]
    listV2      401     [0]      [1]       [1]       [1]    [1]
    sign        401     404      200       200       200    200
    signMany    401     [0]      [1]       [1]       [1]    [1]
    signUpload  401     403      200       200       200    200
    upload      401     403      201       201       201    201
    overwrite   401     403      403       201       201    201
    move        401     404      403       200       200    200
    copy        401     404      200       200       200    200
    delete      401     404      403       204       204    204
    deleteMany  401     [0]      [0]       [1]       [1]    [1]`,
  public: `
                nobody  anonKey  stranger  uploader  owner  service
    download    200     200      200       200       200    200
    head        200     200      200       200       200    200
    info        200     200      200       200       200    200
    list        401     [1]      [1]       [1]       [1]    [1]
    listV2      401     [1]      [1]       [1]       [1]    [1]
    sign        401     200      200       200       200    200
    signMany    401     [1]      [1]       [1]       [1]    [1]
    signUpload  401     403      403       403       200    200
    upload      401     403      403       403       201    201
    overwrite   401     403      403       403       201    201
    move        401     403      403       403       200    200
    copy        401     403      403       403       200    200
    delete      401     403      403       403       204    204
    deleteMany  401     [0]      [0]       [0]       [1]    [1]`,
}

type Policy = keyof typeof MATRIX
type Operation = keyof typeof operations

interface Cell {
  policy: Policy
  ownership: 'owned' | 'ownerless'
  operation: Operation
  who: string
  expected: string
}

const cells = (Object.keys(MATRIX) as Policy[]).flatMap((policy) => {
  const [head = [], ...rows] = MATRIX[policy].trim().split('\n').map(words)
  return rows.flatMap(([operation, ...outcomes]) =>
    outcomes.flatMap((expected, column): Cell[] => {
      const who = head[column] ?? ''
      const cell = { policy, operation: operation as Operation, who, expected }
      const owned = { ...cell, ownership: 'owned' as const }
      // A bucket without owner is the system's: everybody else's rights are the same.
      return who === 'owner' ? [owned] : [owned, { ...cell, ownership: 'ownerless' }]
    }),
  )
})

const ORIGINAL = 'the original bytes'

let server: TestServer
const owner = randomUUID()
const uploader = randomUUID()
const tokens: Record<string, string | null> = {}

beforeAll(async () => {
  server = await startTestServer({ STORAGE_USER_BUCKETS: 'true' })
  Object.assign(tokens, {
    nobody: null,
    anonKey: server.keys.anonKey,
    stranger: await server.token(randomUUID()),
    uploader: await server.token(uploader),
    owner: await server.token(owner),
    service: server.keys.serviceKey,
  })
  for (const policy of Object.keys(MATRIX)) {
    await server.createBucket(`ownerless-${policy}`, { policy })
    const made = await server.request('POST', '/storage/v1/bucket', {
      token: await server.token(owner),
      body: { name: `owned-${policy}`, policy },
    })
    expect(made.status).toBe(201)
  }
})
afterAll(() => server.close())

it('holds every cell: 14 operations for six callers, for buckets with and without owner', () => {
  expect(cells).toHaveLength(3 * 14 * (6 + 5))
})

describe.each(['owned', 'ownerless'] as const)('in an %s bucket', (ownership) => {
  describe.each(Object.keys(MATRIX) as Policy[])('of policy %s', (policy) => {
    const here = cells.filter((cell) => cell.ownership === ownership && cell.policy === policy)
    it.each(here)('$operation by $who is answered $expected', async ({ operation, who, expected }) => {
      const bucket = `${ownership}-${policy}`
      const folder = randomUUID()
      const name = `${folder}/file.txt`
      await put(bucket, name)
      const before = await rowsIn(folder)

      const { outcome, changed } = await operations[operation](bucket, name, tokens[who] ?? null)
      expect(outcome).toBe(expected)

      // What was refused has changed nothing, what was granted was done.
      const granted = /^(2|\[1\])/.test(expected)
      const after = await rowsIn(folder)
      expect(after.map((row) => row.name)).toEqual(granted && changed ? changed : [name])
      if (granted && changed) expect(after).not.toEqual(before)
      else expect(after).toEqual(before)
    })
  })
})

it('has left no bytes without a row, no row without bytes and no unfinished upload', async () => {
  const versions = await server.admin<{ version: string }[]>`select version from storage.objects`
  expect((await server.storedFiles()).map((file) => file.split('/').at(-1)).sort()).toEqual(
    versions.map((row) => row.version).sort(),
  )
  expect(await server.admin`select version from storage.uploads`).toEqual([])
  expect(await server.admin`select version from storage.removals`).toEqual([])
})

/** What the client was told, and, for what changes rows, the names in the folder once it is done. */
type Told = Promise<{ outcome: string; changed?: string[] }>

const operations = {
  async download(bucket: string, name: string, token: string | null): Told {
    const response = await server.request('GET', `/storage/v1/object/${bucket}/${name}`, { token })
    expect((await response.text()) === ORIGINAL).toBe(response.ok)
    return { outcome: String(response.status) }
  },
  async head(bucket: string, name: string, token: string | null): Told {
    const response = await server.request('HEAD', `/storage/v1/object/${bucket}/${name}`, { token })
    expect(response.headers.has('etag')).toBe(response.ok)
    return { outcome: String(response.status) }
  },
  async info(bucket: string, name: string, token: string | null): Told {
    const response = await server.request('GET', `/storage/v1/object/info/${bucket}/${name}`, { token })
    expect(((await response.json()) as { name?: string }).name === name).toBe(response.ok)
    return { outcome: String(response.status) }
  },
  async list(bucket: string, name: string, token: string | null): Told {
    const body = { prefix: folderOf(name) }
    return shown(await server.request('POST', `/storage/v1/object/list/${bucket}`, { token, body }))
  },
  async listV2(bucket: string, name: string, token: string | null): Told {
    const body = { prefix: `${folderOf(name)}/` }
    return shown(await server.request('POST', `/storage/v1/object/list-v2/${bucket}`, { token, body }))
  },
  async sign(bucket: string, name: string, token: string | null): Told {
    const body = { expiresIn: 60 }
    return status(await server.request('POST', `/storage/v1/object/sign/${bucket}/${name}`, { token, body }))
  },
  async signMany(bucket: string, name: string, token: string | null): Told {
    const body = { expiresIn: 60, paths: [name] }
    return shown(await server.request('POST', `/storage/v1/object/sign/${bucket}`, { token, body }))
  },
  async signUpload(bucket: string, name: string, token: string | null): Told {
    return status(
      await server.request('POST', `/storage/v1/object/upload/sign/${bucket}/${name}2`, { token }),
    )
  },
  async upload(bucket: string, name: string, token: string | null): Told {
    const path = `/storage/v1/object/${bucket}/${name}2`
    return status(await server.request('POST', path, { token, body: 'new' }), [name, `${name}2`])
  },
  async overwrite(bucket: string, name: string, token: string | null): Told {
    const init = { token, body: 'other', headers: { 'x-upsert': 'true' } }
    return status(await server.request('POST', `/storage/v1/object/${bucket}/${name}`, init), [name])
  },
  async move(bucket: string, name: string, token: string | null): Told {
    const body = { bucketId: bucket, sourceKey: name, destinationKey: `${name}2` }
    return status(await server.request('POST', '/storage/v1/object/move', { token, body }), [`${name}2`])
  },
  async copy(bucket: string, name: string, token: string | null): Told {
    const body = { bucketId: bucket, sourceKey: name, destinationKey: `${name}2` }
    return status(await server.request('POST', '/storage/v1/object/copy', { token, body }), [
      name,
      `${name}2`,
    ])
  },
  async delete(bucket: string, name: string, token: string | null): Told {
    return status(await server.request('DELETE', `/storage/v1/object/${bucket}/${name}`, { token }), [])
  },
  async deleteMany(bucket: string, name: string, token: string | null): Told {
    const body = { prefixes: [name] }
    const response = await server.request('DELETE', `/storage/v1/object/${bucket}`, { token, body })
    return { ...(await shown(response)), changed: [] }
  },
}

async function status(response: Response, changed?: string[]): Told {
  await response.text()
  return { outcome: String(response.status), ...(changed && { changed }) }
}

/** How many entries of an answer show something: of an array, or of a page of list v2. */
async function shown(response: Response): Told {
  const answer = (await response.json()) as unknown[] | { objects: unknown[] }
  if (!response.ok) return { outcome: String(response.status) }
  const entries = (Array.isArray(answer) ? answer : answer.objects) as { signedURL?: string | null }[]
  return { outcome: `[${entries.filter((entry) => entry.signedURL !== null).length}]` }
}

/** Stores an object as the service, and hands it to the uploader. */
async function put(bucket: string, name: string): Promise<void> {
  const stored = await server.request('POST', `/storage/v1/object/${bucket}/${name}`, { body: ORIGINAL })
  expect(stored.status).toBe(201)
  await stored.text()
  await server.admin`update storage.objects set owner_id = ${uploader}, owner = ${uploader} where name = ${name}`
}

function rowsIn(folder: string) {
  return server.admin<{ name: string; version: string; bucket_id: string; owner_id: string }[]>`
    select name, version, bucket_id, owner_id from storage.objects where name like ${`${folder}/%`} order by name`
}

function folderOf(name: string): string {
  return name.slice(0, name.lastIndexOf('/'))
}

function words(line: string): string[] {
  return line.trim().split(/\s+/)
}

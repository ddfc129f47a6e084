import { StorageApiError, StorageClient } from 'storage-js-newest'
import { expect } from 'vitest'
import { type Clients, ok, type Refusal } from '../describe-client.ts'

export type Files = ReturnType<StorageClient['from']>

/** Clients of the newest storage-js, which knows versions (decision 0072), of the server that `clients` runs. */
export class NewestClients {
  readonly #clients: Clients

  constructor(clients: Clients) {
    this.#clients = clients
  }

  /** With the service key. */
  get service(): StorageClient {
    return this.#client(this.#clients.server.keys.serviceKey)
  }

  /** With the anon key and nobody signed in. */
  get anonymous(): StorageClient {
    return this.#client(this.#clients.server.keys.anonKey)
  }

  /** With the anon key and a user signed in. */
  async user(subject: string): Promise<StorageClient> {
    return this.#client(await this.#clients.server.token(subject))
  }

  #client(token: string): StorageClient {
    const { anonKey } = this.#clients.server.keys
    return new StorageClient(this.#clients.url, { apikey: anonKey, authorization: `Bearer ${token}` })
  }
}

/** Each signed-in user has what he has uploaded; in buckets whose names begin with `guests`, everybody has everything. */
export const POLICIES = `
  create policy own on storage.objects for all to authenticated
    using (owner_id = auth.jwt() ->> 'sub') with check (owner_id = auth.jwt() ->> 'sub');
  create policy guests on storage.objects for all to anon
    using (bucket_id like 'guests%') with check (bucket_id like 'guests%')`

/** Who may do with his own objects what he likes, each by another right. Wants POLICIES. */
export const OWNERS = ['the service key', 'a signed-in user', 'the anonymous key'] as const

let buckets = 0

/** A bucket that keeps versions, unless it says otherwise, for one of OWNERS. */
export async function bucketOf(
  newest: NewestClients,
  owner: (typeof OWNERS)[number],
  settings: Partial<Parameters<NewestClients['service']['createBucket']>[1]> = {},
): Promise<{ bucket: string; of: Files }> {
  const bucket = `guests-${++buckets}`
  ok(await newest.service.createBucket(bucket, { public: false, versioningStatus: 'ENABLED', ...settings }))
  const client = {
    'the service key': () => newest.service,
    'a signed-in user': () => newest.user('ann'),
    'the anonymous key': () => newest.anonymous,
  }[owner]
  return { bucket, of: (await client()).from(bucket) }
}

/** Uploads each text under the same name, and returns the ids of the versions. */
export async function uploaded(of: Files, name: string, ...texts: string[]): Promise<string[]> {
  const versions: string[] = []
  for (const text of texts) {
    ok(await of.upload(name, text, { upsert: true }))
    versions.push(ok(await of.info(name)).version)
  }
  return versions
}

/** The texts of these versions; of one that is not there, the error's code. */
export function textsOf(of: Files, name: string, versions: string[]): Promise<(string | undefined)[]> {
  return Promise.all(
    versions.map(async (versionId) => {
      const { data, error } = await of.download(name, { versionId })
      return error ? (error as StorageApiError).code : data.text()
    }),
  )
}

/** What a name has and had, newest first: how long each version is, in bytes, or `marker`; `now` behind what is there now. */
export async function historyOf(of: Files, name: string): Promise<string[]> {
  const { objects } = ok(
    await of.listV2({
      prefix: name,
      exactMatch: true,
      noncurrentVersions: 'include',
      deleteMarkers: 'include',
    }),
  )
  return objects.map((row) => {
    const what = row.is_delete_marker ? 'marker' : String(row.metadata?.size)
    return row.archived_at === null ? `${what} now` : what
  })
}

/** What this client was told, and the error's code, when the answer must be an error of the API. */
export function refusedWithCode({ data, error }: { data: unknown; error: unknown }): Omit<
  Refusal,
  'message'
> & {
  code: string | undefined
} {
  expect(data).toBeNull()
  expect(error).toBeInstanceOf(StorageApiError)
  const { status, statusCode, code } = error as StorageApiError
  return { status, statusCode, code }
}

import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import type { RequestOptions, Served, TestServer } from './server.ts'

/** What tests of versions do by REST, in a bucket of their own. */
export class VersionSteps {
  bucket = ''

  /** @param server that is asked; one beside it can be named for a single question */
  constructor(readonly server: TestServer) {}

  /** Goes on in a new bucket. */
  async newBucket(settings: Record<string, unknown> = { versioning_status: 'ENABLED' }): Promise<string> {
    this.bucket = `b-${randomUUID()}`
    await this.server.createBucket(this.bucket, settings)
    return this.bucket
  }

  ask = (method: string, path: string, init?: RequestOptions, server: Served = this.server) =>
    server.request(method, `/storage/v1${path}`, init)

  /** What is answered, which is no error. */
  json = async (method: string, path: string, init?: RequestOptions): Promise<Record<string, unknown>> => {
    const answer = await this.ask(method, path, init)
    const text = await answer.text()
    expect(answer.ok, text).toBe(true)
    return text === '' ? {} : JSON.parse(text)
  }

  setStatus = (status: string) =>
    this.json('PUT', `/bucket/${this.bucket}`, { body: { versioning_status: status } })

  /** Uploads each text under the same name, and returns the versions. */
  uploaded = async (name: string, ...texts: string[]): Promise<string[]> => {
    const versions: string[] = []
    for (const body of texts) {
      await this.json('PUT', `/object/${this.bucket}/${name}`, { body })
      versions.push(String((await this.json('GET', `/object/info/${this.bucket}/${name}`)).version))
    }
    return versions
  }

  /** What a name has now: its text, or the status that says why not. */
  now = async (name: string, bucket = this.bucket): Promise<string | number> => {
    const answer = await this.ask('GET', `/object/${bucket}/${name}`)
    return answer.ok ? answer.text() : answer.status
  }

  /** The same of these versions. */
  texts = async (
    name: string,
    versions: string[],
    init?: RequestOptions,
    bucket = this.bucket,
  ): Promise<(string | number)[]> =>
    Promise.all(
      versions.map(async (version) => {
        const answer = await this.ask('GET', `/object/${bucket}/${name}?versionId=${version}`, init)
        return answer.ok ? answer.text() : answer.status
      }),
    )

  /** What the name has: numbers of its versions, and markers, newest first. */
  history = async (name: string, bucket = this.bucket): Promise<string[]> => {
    const rows = await this.server.admin`
      select version_number as number, false as marker, 1e18 as place from storage.objects
        where bucket_id = ${bucket} and name = ${name}
      union all select version_number, is_delete_marker, sequence from storage.object_versions
        where bucket_id = ${bucket} and name = ${name} order by place desc`
    return rows.map(({ number, marker }) => (marker ? `marker ${number}` : `${number}`))
  }
}

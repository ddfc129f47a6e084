import { setTimeout as delay } from 'node:timers/promises'

export type Policy = 'private' | 'authenticated' | 'public'

/** A server that stores objects, by its API: ours, or the one of `--target`. */
export class Api {
  /**
   * @param base where the API begins, such as `http://127.0.0.1:40123/storage/v1`
   * @param userToken of a signed-in user, if there is one
   * @param anonKey with which S3 clients sign in a user's name, of a server of ours
   */
  constructor(
    readonly base: string,
    readonly serviceToken: string,
    readonly userToken: string | undefined,
    readonly anonKey = '',
  ) {}

  async createBucket(name: string, policy: Policy): Promise<void> {
    const body = { name, id: name, public: policy === 'public' }
    // Others need not know our `policy`; what their users may do is up to the policies in their database.
    const answer = await this.#ask('POST', '/bucket', { ...body, policy })
    if (answer.status === 400) await this.send('POST', '/bucket', body)
    else await expectSuccess(answer)
  }

  /** With all that is in it. */
  async deleteBucket(name: string): Promise<void> {
    await this.send('POST', `/bucket/${name}/empty`)
    // Emptying may go on after the answer.
    for (const giveUpAt = Date.now() + 60_000; ; await delay(500)) {
      const answer = await this.#ask('DELETE', `/bucket/${name}`)
      if (answer.ok || Date.now() > giveUpAt) return expectSuccess(answer).then(() => {})
      await answer.arrayBuffer()
    }
  }

  async upload(path: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.send('POST', `/object/${path}`, body)
  }

  /**
   * Sends JSON, or bytes.
   *
   * @returns the answer's JSON
   * @throws when it is no success
   */
  async send(method: string, path: string, body?: object): Promise<unknown> {
    return (await expectSuccess(await this.#ask(method, path, body))).json()
  }

  #ask(method: string, path: string, body?: object): Promise<Response> {
    const isBytes = body instanceof Uint8Array
    return fetch(`${this.base}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.serviceToken}`,
        ...(body && { 'content-type': isBytes ? 'application/octet-stream' : 'application/json' }),
      },
      ...(body && { body: isBytes ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body) }),
    })
  }
}

async function expectSuccess(answer: Response): Promise<Response> {
  if (!answer.ok) throw new Error(`${answer.url}: ${answer.status} ${await answer.text()}`)
  return answer
}

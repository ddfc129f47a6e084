import { PATIENCE_MS } from '../../support/wait.ts'

/** Where the server is now, which may be another one than before. */
export interface Place {
  /** With `/storage/v1`. */
  url: string
  token: string
}

export interface Answer {
  status: number
  text: string
}

/** As the service; a text is sent as JSON. Undefined when there is no answer. */
export async function ask(
  { url, token }: Place,
  method: string,
  target: string,
  body?: Buffer | string,
): Promise<Answer | undefined> {
  const headers = {
    authorization: `Bearer ${token}`,
    ...(typeof body === 'string' && { 'content-type': 'application/json' }),
  }
  const signal = AbortSignal.timeout(PATIENCE_MS)
  const init = { method, headers, signal, ...(body !== undefined && { body: body as string }) }
  try {
    const response = await fetch(`${url}${target}`, init)
    return { status: response.status, text: await response.text() }
  } catch {
    return undefined
  }
}

/** @throws unless it is a success */
export async function demand(place: Place, method: string, target: string, body: object): Promise<unknown> {
  const answer = await ask(place, method, target, JSON.stringify(body))
  if (answer === undefined || answer.status >= 300) {
    throw new Error(`${method} ${target}: ${answer?.status} ${answer?.text}`)
  }
  return JSON.parse(answer.text)
}

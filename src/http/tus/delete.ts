import type { TusRequest } from './request.ts'

/** DELETE: ends an upload that nobody will go on with (TUS 1.0, Termination). */
export async function terminateUpload(request: TusRequest): Promise<Response> {
  const address = request.address()
  await request.services.resumable.terminate(await request.identify(address), address)
  return request.c.body(null, 204)
}

import type { Caller } from '../../model/caller.ts'
import type { Stored } from '../../storage/writing/commit.ts'
import type { UploadContent } from '../../storage/writing/upload-request.ts'
import { clientOf } from '../auth/share-of.ts'
import type { AppContext } from '../env.ts'
import { readUploadBody } from '../message/upload-body.ts'
import type { Services } from '../services.ts'

/** Reads the body of an upload, which has its place among others, and has it stored. */
export function receiveUpload<T = Stored>(
  c: AppContext,
  services: Services,
  caller: Caller,
  store: (content: UploadContent & { partName: string }) => Promise<T>,
): Promise<T> {
  const { incoming } = c.env
  return services.uploads.during(incoming, clientOf(c.env, caller, services.trustProxy), async (admit) =>
    store(await readUploadBody(incoming, admit)),
  )
}

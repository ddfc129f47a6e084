import { type Operation, type Outcome, outcomeOf, shows, status } from './outcome.ts'
import { type Cell, NAME, SECRET } from './world.ts'

/*
 * Ways to ask for what was overwritten and deleted, and what keeps it or lets it go (docs/versions.md). In each the service, or the
 * bucket's settings, have made of the author's object what is asked for: so a caller has it only by who he is, or by the policies.
 */

/** The version that had the secret, overwritten since: by the author, too, as far as rows tell. */
export async function overwritten(cell: Cell, settings: object = {}): Promise<string> {
  await cell.setBucket({ versioning_status: 'ENABLED', ...settings })
  const version = await cell.version()
  await cell.done('PUT', `/object/${cell.object}`, {
    body: 'other',
    headers: { 'content-type': 'text/plain' },
  })
  await cell.giveToAuthor()
  return version
}

/** A moment at which the name had the secret: it is deleted since, behind a marker. */
export async function deletedSince(cell: Cell): Promise<string> {
  await cell.setBucket({ versioning_status: 'ENABLED' })
  const at = await cell.moment()
  await cell.done('DELETE', `/object/${cell.object}`)
  return at
}

/** The object's id, in the trash. */
async function trashed(cell: Cell): Promise<string> {
  await cell.setBucket({ trash_days: 7 })
  const id = await cell.id()
  await cell.done('DELETE', `/object/${cell.object}`)
  return id
}

/** The version that has the secret, which is locked. */
async function locked(cell: Cell): Promise<string> {
  await cell.setBucket({ versioning_status: 'ENABLED', object_lock: true, retention_days: 1 })
  return cell.version()
}

const of =
  (ask: (cell: Cell, version: string) => Promise<Response>): Operation =>
  async (cell) =>
    outcomeOf(await ask(cell, await overwritten(cell)))

const ofIts =
  (text: string, ask: (cell: Cell, version: string) => Promise<Response>): Operation =>
  async (cell) =>
    shows(text, await ask(cell, await overwritten(cell)))

/** Of a name that nothing has any more. */
const atThatTime =
  (text: string, ask: (cell: Cell, at: string) => Promise<Response>): Operation =>
  async (cell) =>
    shows(text, await ask(cell, await deletedSince(cell)))

const inTrash =
  (ask: (cell: Cell, id: string) => Promise<Response>): Operation =>
  async (cell) =>
    outcomeOf(await ask(cell, await trashed(cell)))

const RULES = [{ action: 'delete', after_days: 365 }]

/** With a policy of the bucket that the service has made, gone again when the caller has asked. */
async function withPolicy(cell: Cell, ask: (path: string) => Promise<Response>): Promise<Outcome> {
  const body = { name: 'tidy', bucket: cell.bucket, rules: RULES }
  const { id } = (await (await cell.done('POST', '/lifecycle', { body })).json()) as { id: string }
  return outcomeOf(await ask(`/lifecycle/${id}`))
}

/** Supabase's words for a lifecycle. */
const OLD_VERSIONS = {
  rules: [{ status: 'Enabled', filter: {}, noncurrentVersionExpiration: { noncurrentDays: 365 } }],
}

/** Every way to ask for it, by the name of its row in the table. */
export const FORMER_OPERATIONS: Record<string, Operation> = {
  'version, get': ofIts(SECRET, (cell, id) => cell.ask('GET', `/object/${cell.object}?versionId=${id}`)),
  'version, authenticated': ofIts(SECRET, (cell, id) =>
    cell.ask('GET', `/object/authenticated/${cell.object}?versionId=${id}`),
  ),
  'version, get public': ofIts(SECRET, (cell, id) =>
    cell.ask('GET', `/object/public/${cell.object}?versionId=${id}`),
  ),
  'version, info': ofIts('text/plain', (cell, id) =>
    cell.ask('GET', `/object/info/authenticated/${cell.object}?versionId=${id}`),
  ),
  'version, sign': ofIts('token=', (cell, versionId) =>
    cell.ask('POST', `/object/sign/${cell.object}`, { body: { expiresIn: 60, versionId } }),
  ),
  'version, get signed': ofIts(SECRET, async (cell, versionId) => {
    const body = { expiresIn: 60, versionId }
    const signed = await cell.done('POST', `/object/sign/${cell.object}`, { body })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    return cell.ask('GET', signedURL)
  }),
  'version, by another link': ofIts(SECRET, async (cell, id) => {
    const signed = await cell.done('POST', `/object/sign/${cell.object}`, { body: { expiresIn: 60 } })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    return cell.ask('GET', `${signedURL}&versionId=${id}`)
  }),
  'version, copy': of((cell, sourceVersionId) => {
    const body = { bucketId: cell.bucket, sourceKey: NAME, destinationKey: 'album/new.txt', sourceVersionId }
    return cell.ask('POST', '/object/copy', { body })
  }),
  'version, move': of((cell, sourceVersionId) => {
    const body = { bucketId: cell.bucket, sourceKey: NAME, destinationKey: 'album/new.txt', sourceVersionId }
    return cell.ask('POST', '/object/move', { body })
  }),
  'version, restore': of((cell, version_id) =>
    cell.ask('POST', '/versions/restore', { body: { bucket: cell.bucket, path: NAME, version_id } }),
  ),
  'version, add': of((cell) => cell.ask('POST', `/versions/${cell.object}`, { body: 'newer' })),
  'version, snapshot': of((cell) => cell.ask('POST', `/versions/${cell.object}?snapshot=true`)),
  'version, delete': of((cell, id) => cell.ask('DELETE', `/object/${cell.object}?versionId=${id}`)),
  'version, delete many': ofIts('photo.txt', (cell, versionId) => {
    const body = { prefixes: [{ path: NAME, versionId }] }
    return cell.ask('DELETE', `/object/${cell.bucket}`, { body })
  }),
  'versions, delete all': of((cell) => cell.ask('DELETE', `/object/${cell.object}?permanent=true`)),
  'versions, of a name': async (cell) => {
    const id = await overwritten(cell)
    return shows(id, await cell.ask('GET', `/versions/${cell.object}`))
  },
  'versions, list': async (cell) => {
    const id = await overwritten(cell)
    const body = { prefix: 'album/', noncurrentVersions: 'include' }
    return shows(id, await cell.ask('POST', `/object/list-v2/${cell.bucket}`, { body }))
  },
  'deleted, get at a time': atThatTime(SECRET, (cell, at) =>
    cell.ask('GET', `/object/authenticated/${cell.object}?at=${at}`),
  ),
  'deleted, list at a time': atThatTime('photo.txt', (cell, at) =>
    cell.ask('POST', `/object/list-v2/${cell.bucket}`, { body: { prefix: 'album/', at } }),
  ),
  'deleted, of a name': atThatTime('version_id', (cell) => cell.ask('GET', `/versions/${cell.object}`)),
  'deleted, back in time': atThatTime('"restored":1', (cell, at) =>
    cell.ask('POST', '/versions/restore', { body: { bucket: cell.bucket, prefix: 'album/', at } }),
  ),
  'deleted, back, dry run': atThatTime('"restored":1', (cell, at) =>
    cell.ask('POST', '/versions/restore', {
      body: { bucket: cell.bucket, prefix: 'album/', at, dry_run: true },
    }),
  ),
  'trash, list': async (cell) => {
    const id = await trashed(cell)
    return shows(id, await cell.ask('GET', `/trash?bucket=${cell.bucket}`))
  },
  'trash, restore': inTrash((cell, id) => cell.ask('POST', '/trash/restore', { body: { ids: [id] } })),
  'trash, restore by name': inTrash((cell) =>
    cell.ask('POST', '/trash/restore', { body: { bucket: cell.bucket, path: NAME } }),
  ),
  'trash, restore elsewhere': inTrash((cell, id) =>
    cell.ask('POST', '/trash/restore', { body: { ids: [id], to: 'album/new.txt' } }),
  ),
  'trash, restore over one': inTrash(async (cell, id) => {
    await cell.done('PUT', `/object/${cell.object}`, { body: 'other' })
    return cell.ask('POST', '/trash/restore', { body: { ids: [id], overwrite: true } })
  }),
  'trash, delete': inTrash((cell, id) => cell.ask('DELETE', `/trash/${id}`)),
  'trash, empty': async (cell) => {
    await trashed(cell)
    return shows('"count":1', await cell.ask('POST', '/trash/empty', { body: { bucket: cell.bucket } }))
  },
  'delete, for good': async (cell) => {
    await cell.setBucket({ trash_days: 7 })
    return status(cell.ask('DELETE', `/object/${cell.object}?permanent=true`))
  },
  'lock, get': async (cell) => {
    const id = await locked(cell)
    return shows(id, await cell.ask('GET', `/lock/${cell.object}`))
  },
  'lock, put on': async (cell) => {
    await locked(cell)
    return status(cell.ask('PUT', `/lock/${cell.object}`, { body: { legal_hold: true } }))
  },
  'lock, make shorter': async (cell) => {
    await locked(cell)
    await cell.done('PUT', `/lock/${cell.object}`, { body: { legal_hold: true } })
    return status(cell.ask('PUT', `/lock/${cell.object}`, { body: { legal_hold: false } }))
  },
  'locked, delete': async (cell) => {
    const id = await locked(cell)
    return status(cell.ask('DELETE', `/object/${cell.object}?versionId=${id}`))
  },
  'locked, delete for good': async (cell) => {
    await locked(cell)
    return status(cell.ask('DELETE', `/object/${cell.object}?permanent=true`))
  },
  'locked, empty the bucket': async (cell) => {
    await locked(cell)
    return status(cell.ask('POST', `/bucket/${cell.bucket}/empty`))
  },
  'bucket, keep versions': (cell) =>
    status(cell.ask('PUT', `/bucket/${cell.bucket}`, { body: { versioning_status: 'ENABLED' } })),
  'lifecycle, list': async (cell) => {
    await cell.done('POST', '/lifecycle', { body: { name: 'tidy', bucket: cell.bucket, rules: RULES } })
    return shows('tidy', await cell.ask('GET', `/lifecycle?bucket=${cell.bucket}`))
  },
  'lifecycle, make': (cell) =>
    status(cell.ask('POST', '/lifecycle', { body: { name: 'tidy', bucket: cell.bucket, rules: RULES } })),
  'lifecycle, of all': async (cell) => {
    const response = await cell.ask('POST', '/lifecycle', {
      body: { name: 'tidy', enabled: false, rules: RULES },
    })
    const { id } = (await response.clone().json()) as { id?: string }
    if (response.ok) await cell.done('DELETE', `/lifecycle/${id}`)
    return outcomeOf(response)
  },
  'lifecycle, get': (cell) => withPolicy(cell, (path) => cell.ask('GET', path)),
  'lifecycle, change': (cell) =>
    withPolicy(cell, (path) => cell.ask('PUT', path, { body: { enabled: false } })),
  'lifecycle, run': (cell) => withPolicy(cell, (path) => cell.ask('POST', `${path}/run`)),
  'lifecycle, delete': (cell) => withPolicy(cell, (path) => cell.ask('DELETE', path)),
  'bucket lifecycle, put': async (cell) => {
    await cell.setBucket({ versioning_status: 'ENABLED' })
    return status(cell.ask('PUT', `/bucket/${cell.bucket}/lifecycle`, { body: OLD_VERSIONS }))
  },
  'bucket lifecycle, get': async (cell) => {
    await cell.setBucket({ versioning_status: 'ENABLED' })
    await cell.done('PUT', `/bucket/${cell.bucket}/lifecycle`, { body: OLD_VERSIONS })
    return shows('365', await cell.ask('GET', `/bucket/${cell.bucket}/lifecycle`))
  },
  'bucket lifecycle, delete': async (cell) => {
    await cell.setBucket({ versioning_status: 'ENABLED' })
    await cell.done('PUT', `/bucket/${cell.bucket}/lifecycle`, { body: OLD_VERSIONS })
    return status(cell.ask('DELETE', `/bucket/${cell.bucket}/lifecycle`))
  },
}

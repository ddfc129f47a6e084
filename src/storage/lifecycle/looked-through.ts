import type { Transaction } from '../../database/connection/drizzle.ts'
import {
  abortUploads,
  expireObjects,
  expireVersions,
  type FormerItem,
  type FormerPlace,
  formerPage,
  type ObjectItem,
  objectPage,
  type UploadItem,
  uploadPage,
} from '../../database/queries/lifecycle-items.ts'
import type { RuleOfPolicy } from '../../database/queries/lifecycle-policies.ts'
import type { Caller } from '../../model/caller.ts'
import type { LifecycleItem } from '../../model/lifecycle-rule.ts'

/** Something, and the rule by which it is to go. */
export interface Chosen<Item> {
  item: Item
  rule: RuleOfPolicy
}

/** One kind of things in a bucket, in pages. */
export interface LookedThrough<Item extends LifecycleItem, Place> {
  /** A page, and where it ends: fewer than a whole one are the last. */
  read(tx: Transaction, after: Place | null): Promise<{ items: Item[]; end: Place | null }>
  /** Takes away those that are still to go, and returns them. */
  take(tx: Transaction, chosen: Chosen<Item>[]): Promise<Chosen<Item>[]>
  /** What the wire knows it by, besides its name. */
  versionOf(item: Item): string | null
}

interface Within {
  bucket: string
  prefix: string
  limit: number
}

/** The server itself, as events and users' triggers see it. */
const LIFECYCLE: Caller = {
  role: 'service_role',
  subject: null,
  claims: { role: 'service_role' },
  token: '',
  operation: 'storage.lifecycle',
  method: '',
  path: '',
  headers: {},
  userBuckets: false,
}

export function objectsIn(within: Within): LookedThrough<ObjectItem, string> {
  return {
    async read(tx, after) {
      const items = await objectPage(tx, { ...within, after })
      return { items, end: items.at(-1)?.name ?? after }
    },
    async take(tx, chosen) {
      const items = chosen.map(({ item }) => item)
      const gone = await expireObjects(tx, LIFECYCLE, within.bucket, items)
      return chosen.filter(({ item }) => gone.has(item.name))
    },
    versionOf: (item) => item.version,
  }
}

/** Versions, markers and the trash. What is locked is passed over. */
export function formerIn(within: Within): LookedThrough<FormerItem, FormerPlace> {
  return {
    read: (tx, after) => formerPage(tx, within, after),
    async take(tx, chosen) {
      const gone = await expireVersions(
        tx,
        chosen.map(({ item, rule }) => ({
          sequence: item.sequence,
          keep: rule.action === 'delete_old_versions' ? rule.keepVersions : 0,
          alone: item.isAlone,
        })),
      )
      return chosen.filter(({ item }) => gone.has(item.sequence))
    },
    versionOf: (item) => item.version,
  }
}

/** Unfinished uploads, of all names: there is no index by those. */
export function uploadsIn({ bucket, limit }: Omit<Within, 'prefix'>): LookedThrough<UploadItem, UploadItem> {
  return {
    async read(tx, after) {
      const items = await uploadPage(tx, { bucket, limit }, after)
      return { items, end: items.at(-1) ?? after }
    },
    async take(tx, chosen) {
      const ended = await abortUploads(
        tx,
        chosen.map(({ item }) => item.id),
      )
      return chosen.filter(({ item }) => ended.has(item.id))
    },
    versionOf: () => null,
  }
}

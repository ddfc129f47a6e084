/** Who may know of an object besides those whom the policies let (docs/attributes.md). */
export const ACCESS_LEVELS = ['private', 'shared', 'restricted', 'public'] as const
export type AccessLevel = (typeof ACCESS_LEVELS)[number]

/** What an object is for whoever looks for it. */
export const ASSET_TYPES = ['image', 'document', 'map', 'audio', 'video', 'other'] as const
export type AssetType = (typeof ASSET_TYPES)[number]

/** What an object says of itself, beside its tags and its days; what is absent is as it is by default. */
export interface ObjectAttributes {
  /** How its owner calls the file; else as the last part of its path. */
  fileName?: string
  /** To whom it belongs besides its owner; else nobody. */
  organizationId?: string
  /** Else private. */
  accessLevel?: AccessLevel
  /** Else by its content type. */
  assetType?: AssetType
  /** Whether whoever hears of it may read what is in it, to find it again by; else true. */
  enableIndexing?: boolean
}

/** What a client says of an object beside its bytes, and whose it is to be (docs/attributes.md). */
export interface SentAttributes {
  fileName?: string | undefined
  /** Who is no service may name his own alone. */
  organizationId?: string | undefined
  /** Who is no service may name himself alone; undefined: the caller. */
  ownerId?: string | undefined
  accessLevel?: AccessLevel | undefined
  assetType?: AssetType | undefined
  enableIndexing?: boolean | undefined
  /** As `tagTexts` or `checkWords` makes them; none when absent. */
  tags?: string[] | undefined
  /** After how many days the object goes by itself. */
  autoDeleteAfterDays?: number | undefined
}

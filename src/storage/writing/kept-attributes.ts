import { attributesJson, attributesOf } from '../../database/queries/attributes.ts'
import type { ResumableContent } from '../../database/queries/resumable-uploads.ts'
import type { Caller } from '../../model/caller.ts'
import type { SentAttributes } from '../../model/object-attributes.ts'
import { belongingOf } from './belonging.ts'

/** What is remembered of it between the requests of one upload. */
export type KeptAttributes = Pick<ResumableContent, 'attributes' | 'ownerId' | 'tags' | 'autoDeleteAfterDays'>

/** As an upload over many requests keeps what its first one has said. @throws AccessDenied */
export function keptAttributes(caller: Caller, sent: SentAttributes): KeptAttributes {
  const { ownerId, tags, autoDeleteAfterDays } = sent
  const attributes = attributesJson(belongingOf(caller, sent).attributes)
  return {
    ...(attributes && { attributes }),
    ...(ownerId !== undefined && { ownerId }),
    ...(tags !== undefined && { tags }),
    ...(autoDeleteAfterDays !== undefined && { autoDeleteAfterDays }),
  }
}

/** What was kept, as it was sent. */
export function attributesKept(kept: KeptAttributes): SentAttributes {
  const { ownerId, tags, autoDeleteAfterDays, attributes = null } = kept
  return { ...attributesOf(attributes), ownerId, tags, autoDeleteAfterDays }
}

import { z } from 'zod'
import { isPublicAddress, literalAddress } from '../lib/ip-address.ts'
import { EVENT_TYPES, type EventType } from '../model/event-types.ts'

// What a webhook may look like, wherever it is described: in a request, or in STORAGE_WEBHOOKS.

export const WEBHOOK_FORMATS = ['standard', 'supabase'] as const
export type WebhookFormat = (typeof WEBHOOK_FORMATS)[number]

/** What a webhook is told by those who make it. */
export interface WebhookValues {
  url: string
  /** Signs the bodies of the standard format, and is the bearer token of the other one, if there is one. */
  secret: string | null
  /** Empty is all. */
  events: EventType[]
  /** Null is all. */
  bucket: string | null
  format: WebhookFormat
  /** Whether the receiver may be in a private network. */
  allowPrivate: boolean
}

/** In characters. */
const MAX_URL = 2048
const MAX_SECRET = 512

/** The key of the standard format, in bytes (Standard Webhooks, "Signature scheme"). */
const MIN_KEY = 24
const MAX_KEY = 64

/** No sentence repeats what was sent: it may hold a secret. */
export const webhookFields = {
  url: z
    .string('must be a string')
    .max(MAX_URL, `must have at most ${MAX_URL} characters`)
    .refine(isWebUrl, 'must be an http or https URL')
    .refine((text) => !isWebUrl(text) || hasNoLogin(text), 'must not hold a user or a password'),
  secret: z
    .string('must be a string')
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
    .max(MAX_SECRET, `must have at most ${MAX_SECRET} characters`),
  events: z.array(
    z.enum(EVENT_TYPES, `must be one of ${EVENT_TYPES.join(', ')}`),
    'must be an array of event types',
  ),
  bucket: z
    .string('must be a string')
    .min(1, 'must not be empty')
    .max(255, 'must have at most 255 characters'),
  format: z.enum(WEBHOOK_FORMATS, `must be one of ${WEBHOOK_FORMATS.join(', ')}`),
  allow_private: z.boolean('must be true or false'),
}

/** What is wrong with fields that are each right by themselves: the field's name and a sentence, or null. */
export function webhookContradiction(webhook: {
  url: string
  secret: string | null
  format: WebhookFormat
  allowPrivate: boolean
}): { field: string; sentence: string } | null {
  const address = literalAddress(new URL(webhook.url))
  if (address !== null && !webhook.allowPrivate && !isPublicAddress(address)) {
    return { field: 'url', sentence: 'must not be a private address, unless allow_private is true' }
  }
  if (webhook.format === 'standard' && !isStandardSecret(webhook.secret)) {
    const sentence = `must be whsec_ and the base64 of ${MIN_KEY} to ${MAX_KEY} bytes`
    return { field: 'secret', sentence }
  }
  return null
}

/** `whsec_` and the key in base64 (Standard Webhooks, "Signature scheme"). */
function isStandardSecret(secret: string | null): boolean {
  const text = /^whsec_([A-Za-z\d+/]+={0,2})$/.exec(secret ?? '')?.[1]
  if (text === undefined) return false
  const key = Buffer.from(text, 'base64')
  const isWhole = key.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '')
  return isWhole && key.length >= MIN_KEY && key.length <= MAX_KEY
}

function isWebUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

function hasNoLogin(text: string): boolean {
  const { username, password } = new URL(text)
  return username === '' && password === ''
}

import { z } from 'zod'
import { isStorable } from '../../../lib/storable-text.ts'
import { UUID } from '../../../lib/uuid.ts'
import { LONGEST_RULE_ID } from '../../../model/bucket-lifecycle.ts'
import {
  LIFECYCLE_ACTIONS,
  LIFECYCLE_BASES,
  LONGEST_TAG,
  MOST_DAYS,
  MOST_FILTER_TAGS,
  MOST_KEPT_VERSIONS,
} from '../../../model/lifecycle-rule.ts'
import { fields, flag, integer, optional, textList } from '../../message/json-fields.ts'
import { pageLimit } from '../../message/page-limit.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { pageOf, time, uuid } from '../../openapi/shapes.ts'

/** Rules of one policy that is written here. S3 writes more of them (docs/versions.md). */
const MOST_RULES = 100

/** A text that a row can hold. */
const text = (most: number) =>
  z
    .string('must be a text')
    .max(most, `must have at most ${most} characters`)
    .refine(isStorable, 'must not have a NUL character, nor half a character')

const wholeNumber = (from: number, to: number) => {
  const says = `must be a whole number from ${from} to ${to}`
  return integer(z.int(says).min(from, says).max(to, says))
}

const size = optional(wholeNumber(0, Number.MAX_SAFE_INTEGER))

/** A field of what does not exist yet: an unknown one might go unnoticed, and this one means less than is said. */
const refused = (says: string) => z.never(says).optional()

const filter = fields({
  prefix: optional(text(1024)),
  tags: optional(
    textList(
      z
        .array(text(LONGEST_TAG).min(1, 'must not be empty'), 'must be an array of texts')
        .max(MOST_FILTER_TAGS, `must be at most ${MOST_FILTER_TAGS}`),
    ),
  ).describe('All of them.'),
  content_type: optional(
    z
      .string('must be a text')
      .max(255, 'must have at most 255 characters')
      .regex(/^[\w.+-]+\/(?:[\w.+-]+|\*)$/, 'must be a type such as image/png or image/*'),
  ),
  min_size: size.describe('In bytes.'),
  max_size: size.describe('In bytes.'),
  asset_type: refused('is not known here: there are no types of assets yet'),
})

const rule = fields({
  id: optional(text(LONGEST_RULE_ID).min(1, 'must not be empty')).describe('Made of the rule without it.'),
  enabled: optional(flag()),
  action: z.enum(
    LIFECYCLE_ACTIONS,
    `must be one of ${LIFECYCLE_ACTIONS.join(', ')}: there are no others yet`,
  ),
  after_days: optional(wholeNumber(0, MOST_DAYS)),
  date: optional(z.iso.date('must be a date such as 2027-01-31')).describe(
    'Instead of `after_days`: whatever is there from this day on goes.',
  ),
  based_on: optional(z.enum(LIFECYCLE_BASES, `must be one of ${LIFECYCLE_BASES.join(', ')}`)),
  keep_versions: optional(wholeNumber(0, MOST_KEPT_VERSIONS)).describe(
    'How many former versions stay whatever their age; of `delete_old_versions`.',
  ),
  storage_class: refused('is not known here: there are no storage classes yet'),
  filter: optional(filter),
})

const settings = {
  name: text(255),
  bucket: z.string('must be the id of a bucket').min(1).max(100).nullable(),
  enabled: flag(),
  priority: integer(z.int('must be a whole number').min(-1_000_000).max(1_000_000)),
  rules: z
    .array(rule, 'must be an array of rules')
    .min(1, 'must hold at least one rule')
    .max(MOST_RULES, `must hold at most ${MOST_RULES} rules`),
}

export const createSchema = fields({
  ...settings,
  bucket: settings.bucket.default(null).describe('Null is all.'),
  enabled: optional(settings.enabled),
  priority: optional(settings.priority).describe('The lowest one comes first; 100.'),
})

export const updateSchema = fields({
  name: settings.name.optional(),
  bucket: settings.bucket.optional(),
  enabled: optional(settings.enabled),
  priority: optional(settings.priority),
  rules: optional(settings.rules).describe('All of them.'),
})

export const pageSchema = z.object({
  limit: pageLimit,
  cursor: z
    .string()
    .toLowerCase()
    .regex(UUID, 'must be the id of a policy')
    .default('00000000-0000-0000-0000-000000000000')
    .describe('`next` of the page before.'),
  bucket: z.string().max(100).nullable().default(null).describe('Only that of this one.'),
})

export const runSchema = z.object({
  dry_run: z
    .enum(['true', 'false'], 'must be true or false')
    .default('false')
    .describe('`true` only tells what it would do.'),
})

const toldRule = z
  .strictObject({
    id: z.string(),
    enabled: z.boolean(),
    action: z.enum(LIFECYCLE_ACTIONS),
    after_days: z.int().nullable(),
    date: z.iso.date().nullable(),
    based_on: z.enum(LIFECYCLE_BASES),
    keep_versions: z.int(),
    filter: z.strictObject({
      prefix: z.string(),
      tags: z.array(z.string()),
      content_type: z.string().nullable(),
      min_size: z.int().nullable(),
      max_size: z.int().nullable(),
    }),
  })
  .meta({ id: 'LifecycleRule' })

const listedShape = {
  id: uuid,
  name: z.string(),
  bucket: z.string().nullable(),
  enabled: z.boolean(),
  priority: z.int(),
  created_at: time,
  updated_at: time,
}

/** As `policyJson` makes it. */
const policy = z.strictObject({ ...listedShape, rules: z.array(toldRule) }).meta({ id: 'LifecyclePolicy' })

const listed = z.strictObject({ ...listedShape, rule_count: z.int() }).meta({ id: 'ListedLifecyclePolicy' })

const run = z
  .strictObject({
    dry_run: z.boolean(),
    looked_at: z.int(),
    actions: z
      .strictObject(Object.fromEntries(LIFECYCLE_ACTIONS.map((action) => [action, z.int()])))
      .describe('How often each was done, or would be.'),
    failures: z.int().describe('Batches that could not be done.'),
    complete: z.boolean().describe('Whether nothing is left to the hourly pass.'),
    sample: z
      .array(
        z.strictObject({
          action: z.enum(LIFECYCLE_ACTIONS),
          rule_id: z.string(),
          bucket: z.string(),
          path: z.string(),
          version_id: z.string().nullable(),
        }),
      )
      .describe('The first 100.'),
  })
  .meta({ id: 'LifecycleRun' })

const lifecycleOperation = (operation: Omit<Operation, 'tag' | 'access' | 'path'>): Operation => ({
  tag: 'Lifecycle',
  access: 'token',
  path: { id: 'The UUID of a policy.' },
  ...operation,
})

export const listPolicies: Describe = () =>
  lifecycleOperation({
    id: 'listLifecyclePolicies',
    summary: 'Lists lifecycle policies',
    description: 'All for the service, those of his buckets for anybody else; without their rules.',
    query: pageSchema,
    answers: { 200: { description: 'A page.', json: pageOf(listed, uuid) } },
    errors: ['InvalidRequest'],
  })

export const createPolicy: Describe = () =>
  lifecycleOperation({
    id: 'createLifecyclePolicy',
    summary: 'Makes a lifecycle policy',
    description: 'For who owns the bucket; of all buckets for the service.',
    body: { json: createSchema },
    answers: { 201: { description: 'It is made, and holds from the next pass on.', json: policy } },
    errors: ['RoleNotAllowed', 'AccessDenied', 'NoSuchBucket', 'ResourceAlreadyExists'],
  })

export const getPolicy: Describe = () =>
  lifecycleOperation({
    id: 'getLifecyclePolicy',
    summary: 'Tells of a lifecycle policy',
    answers: { 200: { description: 'The policy, with its rules.', json: policy } },
    errors: ['NoSuchLifecyclePolicy'],
  })

export const updatePolicy: Describe = () =>
  lifecycleOperation({
    id: 'updateLifecyclePolicy',
    summary: 'Changes a lifecycle policy',
    description: 'What is left out stays.',
    body: { json: updateSchema },
    answers: { 200: { description: 'It is changed.', json: policy } },
    errors: ['NoSuchLifecyclePolicy', 'NoSuchBucket'],
  })

export const deletePolicy: Describe = () =>
  lifecycleOperation({
    id: 'deleteLifecyclePolicy',
    summary: 'Deletes a lifecycle policy',
    answers: { 204: { description: 'It is deleted.' } },
    errors: ['NoSuchLifecyclePolicy'],
  })

export const runPolicy: Describe = () =>
  lifecycleOperation({
    id: 'runLifecyclePolicy',
    summary: 'Does now what a policy says',
    description: 'As much as can be done within seconds, whether the policy is enabled or not.',
    query: runSchema,
    answers: { 200: { description: 'What was done, or would be.', json: run } },
    errors: ['InvalidRequest', 'NoSuchLifecyclePolicy'],
  })

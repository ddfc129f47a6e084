import { z } from 'zod'
import { isStorable } from '../../../lib/storable-text.ts'
import { LONGEST_RULE_ID, MOST_BUCKET_RULES, MOST_NEWER_VERSIONS } from '../../../model/bucket-lifecycle.ts'
import { MOST_DAYS } from '../../../model/lifecycle-rule.ts'
import { fields, optional } from '../../message/json-fields.ts'
import type { Describe, Operation } from '../../openapi/operation.ts'
import { message } from '../../openapi/shapes.ts'

const wholeNumber = (from: number, to: number) => {
  const says = `must be a whole number from ${from} to ${to}`
  return z.int(says).min(from, says).max(to, says)
}

/** Wire §13.2: what Supabase's newest client knows. */
const rule = fields({
  id: optional(
    z
      .string('must be a text')
      .min(1, 'must not be empty')
      .max(LONGEST_RULE_ID, `must have at most ${LONGEST_RULE_ID} characters`)
      .refine(isStorable, 'must not have a NUL character, nor half a character'),
  ).describe('Made of the rule without it.'),
  status: z.enum(['Enabled', 'Disabled'], 'must be Enabled or Disabled'),
  filter: z.strictObject({}, 'must be {}: rules of S3 and of /lifecycle have filters'),
  noncurrentVersionExpiration: fields({
    noncurrentDays: wholeNumber(1, MOST_DAYS),
    newerNoncurrentVersions: optional(wholeNumber(1, MOST_NEWER_VERSIONS)).describe(
      'So many stay whatever their age.',
    ),
  }),
})

const SAYS = `must be 1 to ${MOST_BUCKET_RULES} rules`

export const putSchema = fields({
  rules: z.array(rule, SAYS).min(1, SAYS).max(MOST_BUCKET_RULES, SAYS).describe('All of them.'),
})

const told = z
  .strictObject({
    rules: z.array(
      z.strictObject({
        id: z.string(),
        status: z.enum(['Enabled', 'Disabled']),
        filter: z.strictObject({}),
        noncurrentVersionExpiration: z.strictObject({
          noncurrentDays: z.int(),
          newerNoncurrentVersions: z.int().optional(),
        }),
      }),
    ),
  })
  .meta({ id: 'BucketLifecycle' })

const bucketOperation = (operation: Omit<Operation, 'tag' | 'access' | 'path'>): Operation => ({
  tag: 'Lifecycle',
  access: 'token',
  path: { id: 'The id of a bucket.' },
  ...operation,
})

export const getBucketLifecycle: Describe = () =>
  bucketOperation({
    id: 'getBucketLifecycle',
    summary: "Tells of a bucket's rules for former versions",
    description: 'Those of its lifecycle policy that Supabase has words for.',
    answers: { 200: { description: 'The rules.', json: told } },
    errors: ['NoSuchBucket', 'NoSuchLifecycleConfiguration'],
  })

export const putBucketLifecycle: Describe = () =>
  bucketOperation({
    id: 'putBucketLifecycle',
    summary: "Replaces a bucket's rules for former versions",
    body: { json: putSchema },
    answers: { 200: { description: 'What is stored now.', json: told } },
    errors: ['NoSuchBucket', 'KeptByRule'],
  })

export const deleteBucketLifecycle: Describe = () =>
  bucketOperation({
    id: 'deleteBucketLifecycle',
    summary: "Deletes a bucket's rules for former versions",
    description: 'A success where there are none.',
    answers: { 200: { description: 'There are none.', json: message } },
    errors: ['NoSuchBucket', 'KeptByRule'],
  })

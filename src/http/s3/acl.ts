import type { BucketPolicy } from '../../database/schema.ts'
import { printable } from '../../lib/printable.ts'
import { StorageError } from '../../model/errors.ts'
import { ownerElement } from './owner.ts'
import type { S3Request } from './request.ts'
import { childText, malformed, type XmlElement } from './xml-reader.ts'
import type { XmlElements } from './xml-writer.ts'

/*
 * ACLs as far as a bucket's policy is one (design §4): who may do what otherwise is for SQL to say, and no ACL could. They
 * are told of a bucket, and set by its two canned ones.
 */

const EVERYBODY = 'http://acs.amazonaws.com/groups/global/AllUsers'
const SIGNED_IN = 'http://acs.amazonaws.com/groups/global/AuthenticatedUsers'

const CANNED = new Map<string, BucketPolicy>([
  ['private', 'private'],
  ['public-read', 'public'],
])

/** The policy that `x-amz-acl` asks for; undefined without one. @throws NotImplemented */
export function cannedAcl(request: S3Request): BucketPolicy | undefined {
  for (const name in request.c.env.incoming.headers) {
    if (name.startsWith('x-amz-grant-')) throw refused(`${name} is not supported`)
  }
  const acl = request.header('x-amz-acl')
  if (acl === undefined) return undefined
  const policy = CANNED.get(acl)
  if (policy === undefined) throw refused(`A bucket cannot be ${printable(acl)}`)
  return policy
}

/** The policy that grants ask for, when they are those of a canned ACL. @throws NotImplemented, MalformedXML */
export function policyOfGrants(acl: XmlElement): BucketPolicy {
  const list = acl.children.find(({ name }) => name === 'AccessControlList')
  if (!list) throw malformed('it has no AccessControlList')
  let policy: BucketPolicy = 'private'
  for (const grant of list.children) {
    const grantee = grant.children.find(({ name }) => name === 'Grantee')
    const permission = childText(grant, 'Permission')
    if (!grantee || permission === undefined) throw malformed('a grant has no grantee or no permission')
    const group = childText(grantee, 'URI')
    if (group === EVERYBODY && permission === 'READ') policy = 'public'
    else if (group !== undefined || permission !== 'FULL_CONTROL')
      throw refused('These grants are no bucket’s here')
  }
  return policy
}

function refused(what: string): StorageError {
  return new StorageError('NotImplemented', {
    message: `${what}: a bucket is private or public-read, and all else is for policies in SQL`,
  })
}

/** What is true of a bucket, and of each object in it. */
export function aclElements(ownerId: string | null, policy: BucketPolicy): XmlElements {
  const owner = ownerElement(ownerId)
  const grants = [grant('CanonicalUser', owner, 'FULL_CONTROL')]
  if (policy === 'public') grants.push(grant('Group', { URI: EVERYBODY }, 'READ'))
  if (policy === 'authenticated') {
    grants.push(grant('Group', { URI: SIGNED_IN }, 'READ'), grant('Group', { URI: SIGNED_IN }, 'WRITE'))
  }
  return { Owner: owner, AccessControlList: { Grant: grants } }
}

function grant(type: string, grantee: XmlElements, permission: string): XmlElements {
  const opening = `Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="${type}"`
  return { [opening]: grantee, Permission: permission }
}

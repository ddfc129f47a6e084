/** Where a token may name an organisation, in this order; never in `user_metadata`, which users write. */
const PLACES = ['', 'app_metadata', 'metadata']
const NAMES = ['organization_id', 'org_id']

/** A token's claims are one object for as long as it is remembered. */
const known = new WeakMap<object, string | null>()

/** The organisation of whoever has a token with these claims; null when it names none. As `storage.organization_of`. */
export function organizationOf(claims: Record<string, unknown>): string | null {
  let organization = known.get(claims)
  if (organization === undefined) {
    organization = findOrganization(claims)
    known.set(claims, organization)
  }
  return organization
}

function findOrganization(claims: Record<string, unknown>): string | null {
  for (const place of PLACES) {
    const values = place === '' ? claims : claims[place]
    if (typeof values !== 'object' || values === null) continue
    for (const name of NAMES) {
      const value = Object.hasOwn(values, name) ? Object(values)[name] : undefined
      if (typeof value === 'string' && value !== '') return value
    }
  }
  return null
}

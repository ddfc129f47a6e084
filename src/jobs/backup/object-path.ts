/** An object as `<bucket>/<name>`, taken apart: the id of a bucket has no slash. */
export function objectPath(object: string): { bucketId: string; name: string } {
  const slash = object.indexOf('/')
  return { bucketId: object.slice(0, slash), name: object.slice(slash + 1) }
}

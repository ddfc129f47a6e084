/*
 * A key of S3 that ends with a slash is an object that marks an empty folder, which has another name everywhere else
 * (decision 0050). `storage.list_keys` knows the name, too.
 */

const PLACEHOLDER = '.emptyFolderPlaceholder'

/** The name of the object that an S3 client means by a key. Nobody has looked whether it is legal. */
export function nameOfKey(key: string): string {
  return key.endsWith('/') ? `${key}${PLACEHOLDER}` : key
}

/** The key by which S3 clients see an object. */
export function keyOfName(name: string): string {
  return name.endsWith(`/${PLACEHOLDER}`) ? name.slice(0, -PLACEHOLDER.length) : name
}

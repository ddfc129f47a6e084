/** Major and minor of the oldest Node that runs this; `engines` in package.json says the same. */
export const OLDEST_NODE = [20, 19] as const

/**
 * What to say to somebody whose Node is too old; null to all others. Runs on old ones, too: in words of Node 12.
 *
 * @param version as in `process.versions.node`
 */
export function whyTooOld(version: string): string | null {
  const [major, minor] = version.split('.').map(Number) as [number, number]
  const [oldestMajor, oldestMinor] = OLDEST_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return null
  return `Node ${oldestMajor}.${oldestMinor} or newer is needed, and this is ${version}: install one from https://nodejs.org, then run npm ci again`
}

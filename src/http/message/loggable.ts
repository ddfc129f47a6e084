/** In characters; no legal name is longer (wire §3.1). */
const MAX_LOGGED = 2048

/**
 * A JWT where none belongs: in a path, say, by a client that has encoded the question mark before it. What stands
 * right before it, as of `%3D`, goes too: the search begins once in a word, not at each `eyJ` of it.
 */
const TOKEN = /(?<![\w-])(?=[\w-]*eyJ)[\w-]+\.[\w-]+\.[\w-]+/g

/** What signs a presigned URL of S3, where it has got into a path in the same way. */
const SIGNATURE = /(X-Amz-(?:Signature|Security-Token|Credential)(?:=|%3D))[^&/]+/gi

/** What may be the first part of one that was cut in two. */
const CUT_TOKEN = /(?<![\w.-])(?=[\w.-]*eyJ)[\w.-]+$/

/** What a client has sent, as logs and traces may hold it: without tokens, and not too long. */
export function loggable(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const shown = text.slice(0, MAX_LOGGED).replace(TOKEN, '[hidden]').replace(SIGNATURE, '$1[hidden]')
  return text.length > MAX_LOGGED ? `${shown.replace(CUT_TOKEN, '[hidden]')}…` : shown
}

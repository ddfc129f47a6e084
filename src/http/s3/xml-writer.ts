/** What is in an element: text, or elements by their names; of a list, one after the other; undefined is left out. */
export type XmlContent = string | number | boolean | XmlElements

export interface XmlElements {
  /** A name may be followed by attributes, as `Grantee xsi:type="Group"`. */
  [name: string]: XmlContent | XmlContent[] | Mixed | undefined
}

/** Elements of several names in one order, in place of one of a name that is written nowhere. JSON knows each name once. */
export class Mixed {
  constructor(readonly items: [name: string, content: XmlContent][]) {}
}

/** Of all answers but errors (wire §6.6). */
export const S3_NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'

export const XML_TYPE = 'application/xml; charset=utf-8'

/** A body, and its type. */
export interface Document {
  type: string
  text: string
}

/**
 * The document of an answer: XML, or JSON of the same form for who says that he takes that alone (wire §6.6).
 *
 * @param accept the request's header
 * @param root its name
 * @param namespace that of all answers but errors
 */
export function answerDocument(
  accept: string | undefined,
  root: string,
  content: XmlContent,
  namespace?: typeof S3_NAMESPACE,
): Document {
  if (accept?.includes('application/json') && !/xml|\*\/\*|application\/\*/.test(accept)) {
    return { type: 'application/json', text: JSON.stringify({ [root]: byName(content) }) }
  }
  const opening = namespace === undefined ? root : `${root} xmlns="${namespace}"`
  return { type: XML_TYPE, text: xmlDocument(opening, content) }
}

/** With what is mixed at its top in lists, each by its name. */
function byName(content: XmlContent): XmlContent {
  if (typeof content !== 'object') return content
  const named: XmlElements = {}
  for (const [name, value] of Object.entries(content)) {
    if (!(value instanceof Mixed)) named[name] = value
    else
      for (const [each] of value.items)
        named[each] ??= value.items.flatMap(([n, c]) => (n === each ? [c] : []))
  }
  return named
}

/** A whole document. @param root its name, with attributes if there are any */
export function xmlDocument(root: string, content: XmlContent): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${element(root, content)}`
}

function element(opening: string, content: XmlContent): string {
  const space = opening.indexOf(' ')
  const name = space < 0 ? opening : opening.slice(0, space)
  const inner = typeof content === 'object' ? elements(content) : escapeXml(String(content))
  return inner === '' ? `<${opening}/>` : `<${opening}>${inner}</${name}>`
}

function elements(content: XmlElements): string {
  let text = ''
  for (const [name, value] of Object.entries(content)) {
    if (value instanceof Mixed) for (const [each, item] of value.items) text += element(each, item)
    else if (Array.isArray(value)) for (const item of value) text += element(name, item)
    else if (value !== undefined) text += element(name, value)
  }
  return text
}

/** What no text may have as it is. Most have nothing of it, and are looked through once. */
const SPECIAL = /[&<>"\p{Cc}\p{Cs}\ufffe\uffff]/u

/** XML 1.0 has no word for most of it, and readers make a line feed of a carriage return; all but tabs and line feeds. */
const UNSPEAKABLE = /[^\P{Cc}\t\n]|[\p{Cs}\ufffe\uffff]/gu

/** Characters that XML 1.0 does not have are written as S3 writes them, which its clients read. */
export function escapeXml(text: string): string {
  if (!SPECIAL.test(text)) return text
  let escaped = text
  // Not one after the other: keys may be full of them, and a list full of such keys.
  for (const [character, entity] of NAMED) escaped = escaped.replaceAll(character, entity)
  return escaped.replace(UNSPEAKABLE, (character) => {
    const code = character.codePointAt(0) ?? 0
    return code < 0xd800 ? `&#x${code.toString(16)};` : '\ufffd'
  })
}

/** The ampersand first, which all the others have. */
const NAMED = [
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
] as const

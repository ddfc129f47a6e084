import sax from 'sax'
import { printable } from '../../lib/printable.ts'
import { StorageError } from '../../model/errors.ts'

/** An element of a request's body. Namespaces and attributes mean nothing in S3's requests. */
export interface XmlElement {
  /** Without a prefix. */
  name: string
  children: XmlElement[]
  /** As it stands there: nothing is trimmed, and nothing taken for a number. Empty where there are children. */
  text: string
}

/** Those that XML has by itself, and nothing that an object of JavaScript has besides, which the parser would look up, too. */
const ENTITIES: Record<string, string> = Object.assign(Object.create(null), {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
})

/** No request of S3 is nested deeper than half of it. */
const MAX_DEPTH = 16

/** The most that a body of 2 MiB could be with a thousand keys of a few elements each, many times over. */
const MAX_ELEMENTS = 100_000

/**
 * Reads a document: one root, only the entities that XML itself has, no DOCTYPE (wire §6.7). A byte-order mark is passed
 * over.
 *
 * @param root what the root has to be called
 * @throws MalformedXML
 */
export function readXml(bytes: Buffer, root: string): XmlElement {
  const document: XmlElement = { name: '', children: [], text: '' }
  const open: XmlElement[] = [document]
  let elements = 0
  const innermost = () => open[open.length - 1] ?? document
  const addText = (text: string) => {
    innermost().text += text
  }

  const parser = sax.parser(true, { position: false })
  parser.ENTITIES = ENTITIES
  parser.onerror = (error) => {
    throw malformed(error.message.split('\n', 1)[0] ?? '')
  }
  parser.ondoctype = () => {
    throw malformed('a DOCTYPE is not allowed')
  }
  // None of them is kept: one by the name of a method that the parser calls on them would take its place.
  parser.onattribute = ({ name }) => {
    delete parser.tag.attributes[name]
  }
  parser.onopentag = ({ name }) => {
    if (open.length > MAX_DEPTH) throw malformed('it is nested too deeply')
    if (++elements > MAX_ELEMENTS) throw malformed('it has too many elements')
    const element = { name: name.slice(name.indexOf(':') + 1), children: [], text: '' }
    innermost().children.push(element)
    open.push(element)
  }
  parser.ontext = addText
  parser.oncdata = addText
  parser.onclosetag = () => {
    const closed = open.pop()
    if (closed && closed.children.length > 0) closed.text = ''
  }
  parser.write(decoded(bytes)).close()

  const [found, another] = document.children
  if (!found) throw malformed('it is empty')
  if (another) throw malformed('it has more than one root')
  if (found.name !== root) throw malformed(`the root must be ${root}, not ${found.name}`)
  return found
}

/** The text of the first child of this name. */
export function childText({ children }: XmlElement, name: string): string | undefined {
  return children.find((child) => child.name === name)?.text
}

export function malformed(what: string): StorageError {
  return new StorageError('MalformedXML', {
    message: `The body is not the XML that is expected here: ${printable(what)}`,
  })
}

function decoded(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw malformed('it is no UTF-8')
  }
}

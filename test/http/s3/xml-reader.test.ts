import { describe, expect, it } from 'vitest'
import { childText, readXml } from '../../../src/http/s3/xml-reader.ts'
import { xmlDocument } from '../../../src/http/s3/xml-writer.ts'

const read = (text: string) => readXml(Buffer.from(text), 'Delete')

describe('the XML of a request', () => {
  it('is read as it stands there: nothing is trimmed, nothing is a number', () => {
    for (const key of [' ', '0', '007', 'true', 'null', '1e3', ' a  b ', 'ä€😀', '\n', 'a&b<c>"d\'']) {
      const document = read(xmlDocument('Delete', { Object: [{ Key: key }] }))
      expect(childText(document.children[0] ?? document, 'Key')).toBe(key)
    }
  })

  it('may have a byte-order mark, a declaration, comments, CDATA, prefixes and namespaces', () => {
    const document = read(
      '\ufeff<?xml version="1.0"?><!-- a --><s:Delete xmlns:s="x"><s:Key><![CDATA[<&>]]>&#x41;&#66;</s:Key></s:Delete>\n',
    )
    expect(childText(document, 'Key')).toBe('<&>AB')
  })

  it.each(['hasOwnProperty', '__proto__', 'constructor', 'length'])(
    'may have attributes, whatever they are called: %s',
    (name) => {
      const document = read(
        `<Delete ${name}="a" b="c" ${name}s="d"><Key e="f" ${name}="g" h="i">j</Key></Delete>`,
      )
      expect(childText(document, 'Key')).toBe('j')
    },
  )

  it('is not said again at length when it is refused', () => {
    for (const text of [`<${'a'.repeat(100_000)}/>`, `<Delete></${'a'.repeat(100_000)}>`]) {
      expect(() => read(text)).toThrow(/^.{1,300}$/s)
    }
  })

  it('may have more references than a bomb would need', () => {
    const key = '&'.repeat(5000)
    expect(childText(read(xmlDocument('Delete', { Key: key })), 'Key')).toBe(key)
  })

  it.each([
    ['nothing', ''],
    ['no XML', 'Key=a'],
    ['no end', '<Delete><Key>a</Key>'],
    ['another end', '<Delete><Key>a</Delete></Key>'],
    ['another root', '<Remove/>'],
    ['two roots', '<Delete/><Delete/>'],
    ['text behind its root', '<Delete/>a'],
    ['a DOCTYPE', '<!DOCTYPE Delete><Delete/>'],
    ['a bomb', '<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><Delete>&d;</Delete>'],
    ['an external entity', '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Delete>&b;</Delete>'],
    ['an entity that XML does not have', '<Delete>&nbsp;</Delete>'],
    ['an entity by the name of a method', '<Delete>&constructor;</Delete>'],
    ['a character that XML does not have', '<Delete>&#0;</Delete>'],
    ['an ampersand', '<Delete>a & b</Delete>'],
    ['many levels', `${'<Delete>'.repeat(500)}${'</Delete>'.repeat(500)}`],
    ['many elements', `<Delete>${'<a/>'.repeat(100_001)}</Delete>`],
  ])('is refused with %s', (_what, text) => {
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'MalformedXML' }))
  })

  it('is UTF-8', () => {
    const latin = Buffer.from('<Delete><Key>\u00e4</Key></Delete>', 'latin1')
    expect(() => readXml(latin, 'Delete')).toThrow(expect.objectContaining({ code: 'MalformedXML' }))
  })
})

describe('the XML of an answer', () => {
  it('says what XML has no characters for as S3 does', () => {
    expect(xmlDocument('Key', 'a\u0001b\rc\td\n\ud800\uffff')).toBe(
      '<?xml version="1.0" encoding="UTF-8"?>\n<Key>a&#x1;b&#xd;c\td\n\ufffd\ufffd</Key>',
    )
    expect(xmlDocument('Key', '&amp;<"\r>&&')).toContain('<Key>&amp;amp;&lt;&quot;&#xd;&gt;&amp;&amp;</Key>')
  })

  it('leaves out what is not there, repeats lists, and takes attributes', () => {
    const text = xmlDocument('A', { B: undefined, C: [1, true], 'D x="y"': { E: '' } })
    expect(text.split('\n')[1]).toBe('<A><C>1</C><C>true</C><D x="y"><E/></D></A>')
  })
})

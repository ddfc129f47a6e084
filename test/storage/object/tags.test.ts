import { describe, expect, it } from 'vitest'
import { tagsOf, tagTexts } from '../../../src/storage/object/tags.ts'

describe('tags of S3', () => {
  it.each([
    [[], []],
    [[{ key: 'project', value: 'apollo' }], ['project=apollo']],
    [[{ key: 'urgent', value: '' }], ['urgent']],
    [
      [
        { key: 'a:b/c d+e-f.g_h@i', value: 'x=y=z' },
        { key: 'ключ', value: 'Wert 図' },
      ],
      ['a:b/c d+e-f.g_h@i=x=y=z', 'ключ=Wert 図'],
    ],
  ])('are kept as words, in order: %j', (tags, texts) => {
    expect(tagTexts(tags)).toEqual(texts)
    expect(tagsOf(texts)).toEqual(tags)
  })

  it('are those, too, that somebody else has set as words', () => {
    expect(tagsOf(['urgent', '=', 'a=', 'line\nbreak=b'])).toEqual([
      { key: 'urgent', value: '' },
      { key: '', value: '' },
      { key: 'a', value: '' },
      { key: 'line\nbreak', value: 'b' },
    ])
  })

  const long = (length: number) => 'ä'.repeat(length)
  it('are counted in characters, up to their bounds', () => {
    const tags = Array.from({ length: 10 }, (_, n) => ({ key: `${n}${long(127)}`, value: long(256) }))
    expect(tagTexts(tags)).toHaveLength(10)
  })

  it.each([
    ['more than ten', Array.from({ length: 11 }, (_, n) => ({ key: `k${n}`, value: '' })), 'at most 10'],
    ['a key without text', [{ key: '', value: 'x' }], 'key'],
    ['a key of 129 characters', [{ key: long(129), value: '' }], 'key'],
    ['a value of 257 characters', [{ key: 'k', value: long(257) }], 'value of the tag k'],
    ['a control character', [{ key: 'k', value: 'a\u0000' }], 'value'],
    ['another character', [{ key: 'k*', value: '' }], 'key k*'],
    ["one of Amazon's own", [{ key: 'aws:cost', value: '' }], 'aws:cost'],
    ['what would be read as another key', [{ key: 'a=b', value: 'c' }], 'between key and value'],
    [
      'a key twice',
      [
        { key: 'k', value: '1' },
        { key: 'k', value: '2' },
      ],
      'twice',
    ],
  ])('are refused for %s', (_, tags, sentence) => {
    expect(() => tagTexts(tags)).toThrow(
      expect.objectContaining({ code: 'InvalidTag', message: expect.stringContaining(sentence) }),
    )
  })
})

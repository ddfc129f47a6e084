import { printable } from '../../lib/printable.ts'
import { isPlainText } from '../../lib/storable-text.ts'
import { StorageError } from '../../model/errors.ts'

/** As S3 knows it. */
export interface Tag {
  key: string
  value: string
}

/** Of an object, as Amazon S3 bounds them, and of characters, which are those that it takes. */
const MAX_TAGS = 10
const MAX_KEY = 128
const MAX_VALUE = 256
const CHARACTERS = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u

/** Amazon's own: nobody else may set them. */
const RESERVED = /^aws:/i

/**
 * Tags of S3 as an object's row has them: words, `key=value`, or the key alone where the value is empty (decision 0050).
 *
 * @throws InvalidTag when one is not what S3 takes, comes twice, or has `=` in its key
 */
export function tagTexts(tags: Tag[]): string[] {
  if (tags.length > MAX_TAGS) throw invalid(`An object may have at most ${MAX_TAGS} tags`)
  const keys = new Set<string>()
  return tags.map(({ key, value }) => {
    checkKey(key)
    if ([...value].length > MAX_VALUE || !CHARACTERS.test(value))
      throw invalid(`The value of the tag ${printable(key)} is not valid`)
    if (keys.has(key)) throw invalid(`The tag ${key} comes twice`)
    keys.add(key)
    return value === '' ? key : `${key}=${value}`
  })
}

function checkKey(key: string): void {
  const isValid = key !== '' && [...key].length <= MAX_KEY && CHARACTERS.test(key) && !RESERVED.test(key)
  if (!isValid) throw invalid(`The tag key ${printable(key)} is not valid`)
  if (key.includes('=')) throw invalid(`The tag key ${key} has an =, which stands between key and value here`)
}

/** What S3 sees of an object's words, whoever set them. */
export function tagsOf(texts: string[]): Tag[] {
  return texts.map((text) => {
    const [, key = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(text) ?? []
    return { key, value }
  })
}

function invalid(message: string): StorageError {
  return new StorageError('InvalidTag', { message })
}

/** Words of an object, which are tags to S3, too; and of each, in characters. */
export const MAX_WORDS = 50
export const MAX_WORD = 128

/**
 * Tags as everybody but S3 says them: an array in JSON, or with commas between them.
 *
 * @throws InvalidTags
 */
export function parseWords(text: string): string[] {
  if (text.trim() === '') return []
  if (!text.trimStart().startsWith('[')) return checkWords(text.split(','))
  try {
    return checkWords(JSON.parse(text))
  } catch (cause) {
    if (cause instanceof StorageError) throw cause
    throw invalidWords('tags must be an array in JSON, or words with commas between them', cause)
  }
}

/** Trimmed, each of them once, in their order. @throws InvalidTags */
export function checkWords(sent: unknown): string[] {
  if (!Array.isArray(sent) || sent.some((word) => typeof word !== 'string'))
    throw invalidWords('tags must be an array of texts')
  const words = [...new Set(sent.map((word: string) => word.trim()))]
  if (words.length > MAX_WORDS) throw invalidWords(`An object may have at most ${MAX_WORDS} tags`)
  const wrong = words.find((word) => word === '' || [...word].length > MAX_WORD || !isPlainText(word))
  if (wrong === undefined) return words
  throw invalidWords(`A tag has 1 to ${MAX_WORD} characters, and no control characters: ${printable(wrong)}`)
}

function invalidWords(message: string, cause?: unknown): StorageError {
  return new StorageError('InvalidTags', { message, cause })
}

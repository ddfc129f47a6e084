import { describe, expect, it } from 'vitest'
import { keyOfName, nameOfKey } from '../../../src/storage/object/folder-marker.ts'

describe('a key of S3', () => {
  it.each([
    ['dir/', 'dir/.emptyFolderPlaceholder'],
    ['a/b c/', 'a/b c/.emptyFolderPlaceholder'],
    ['a//', 'a//.emptyFolderPlaceholder'],
    ['dir', 'dir'],
    ['a/b.txt', 'a/b.txt'],
    ['.emptyFolderPlaceholder', '.emptyFolderPlaceholder'],
    ['a/x.emptyFolderPlaceholder', 'a/x.emptyFolderPlaceholder'],
    ['a/.emptyFolderPlaceholder/b', 'a/.emptyFolderPlaceholder/b'],
  ])('%s is the object %s, and the other way round', (key, name) => {
    expect([nameOfKey(key), keyOfName(name)]).toEqual([name, key])
  })

  it('may be the name of a folder’s marker itself', () => {
    expect(nameOfKey('dir/.emptyFolderPlaceholder')).toBe('dir/.emptyFolderPlaceholder')
  })
})

import { expect, it } from 'vitest'
import { SortedLookup } from '../../src/lib/sorted-lookup.ts'

const open = (keys: string[], onEnd: () => void = () => {}) =>
  new SortedLookup(
    async function* () {
      try {
        for (const key of keys) yield { key }
      } finally {
        onEnd()
      }
    },
    ({ key }) => key,
  )

it('finds what is there, and nothing in its place where it is not, also for those who ask at once', async () => {
  const list = open(['b', 'd', 'f'])
  const found = await Promise.all(['a', 'b', 'b', 'c', 'f', 'g'].map((key) => list.find(key)))
  expect(found.map((entry) => entry?.key)).toEqual([undefined, 'b', 'b', undefined, 'f', undefined])
})

it('reads no further than it has to, and lets go of the list when it is closed', async () => {
  let hasEnded = false
  const list = open(['a', 'b', 'c'], () => {
    hasEnded = true
  })
  expect(await list.find('b')).toEqual({ key: 'b' })
  expect(hasEnded).toBe(false)
  await list.close()
  expect(hasEnded).toBe(true)
})

it('is not opened before it is asked, and closing it then does nothing', async () => {
  const list = new SortedLookup(
    () => {
      throw new Error('opened')
    },
    () => '',
  )
  await list.close()
  await expect(list.find('a')).rejects.toThrow('opened')
})

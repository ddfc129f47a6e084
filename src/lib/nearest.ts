/** Beyond so many edits a word is another one, not a slip of the pen: a third of its letters, and two at the least. */
const mostEdits = (word: string) => Math.max(2, Math.floor(word.length / 3))

/** Words are compared without what spellings differ in: `expires_in` is `expiresIn`. */
const plain = (word: string) => word.toLowerCase().replace(/[_-]/g, '')

/** The one of `known` that was probably meant, if any. @param word compared by its first 100 characters */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const wanted = plain(word.slice(0, 100))
  const [best] = known
    .map((candidate) => ({ candidate, edits: edits(wanted, plain(candidate)) }))
    .sort((a, b) => a.edits - b.edits)
  return best && best.edits <= mostEdits(wanted) ? best.candidate : undefined
}

/** Levenshtein's distance: letters to insert, remove or replace. */
function edits(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const above = row
    row = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = (above[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      row[j] = Math.min(replaced, (above[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1)
    }
  }
  return row[to.length] ?? 0
}

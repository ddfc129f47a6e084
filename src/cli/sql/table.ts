/** A column of an answer: its name, and whether its values are numbers, which stand at the right. */
export interface Column {
  name: string
  isNumber: boolean
}

/** An answer as psql prints it: a heading, a line each, and how many there are. */
export function table(columns: Column[], rows: (string | null)[][]): string {
  const cells = rows.map((row) => row.map((value) => oneLine(value ?? '')))
  const names = columns.map(({ name }) => oneLine(name))
  const widths = names.map((name, index) =>
    cells.reduce((most, row) => Math.max(most, width(row[index] ?? '')), width(name)),
  )
  const line = (row: string[], isHeading = false) =>
    row
      .map((cell, index) => {
        const space = ' '.repeat((widths[index] ?? 0) - width(cell))
        return ` ${columns[index]?.isNumber && !isHeading ? space + cell : cell + space} `
      })
      .join('|')
      .trimEnd()
  const rule = widths.map((length) => '-'.repeat(length + 2)).join('+')
  const count = rows.length === 1 ? '(1 row)' : `(${rows.length} rows)`
  return `${[line(names, true), rule, ...cells.map((row) => line(row)), count].join('\n')}\n\n`
}

/** What could break a line or a terminal is escaped: names and metadata are what strangers have sent. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) => JSON.stringify(character).slice(1, -1))
}

/** In characters; a terminal may need two columns for one of them. */
function width(text: string): number {
  return [...text].length
}

import { describe, expect, it } from 'vitest'
import { placeOf, splitStatements } from '../../../src/cli/sql/statements.ts'

describe('a script', () => {
  it.each<[string, string, string[]]>([
    ['nothing', '', []],
    ['comments alone', '-- a;\n/* b; */ ;; ', []],
    ['a last statement without semicolon', 'select 1;select 2', ['select 1', 'select 2']],
    ['semicolons in texts', "select ';', '''; ';select 2", ["select ';', '''; '", 'select 2']],
    ['a backslash at the end of a text', "select 'a\\'; select 2", ["select 'a\\'", 'select 2']],
    ['escapes in a text with E', "select E'a\\'; ' ; select 2", ["select E'a\\'; ' ", 'select 2']],
    [
      'a word that ends in e before a text',
      "select date'2026-01-01'; select 2",
      ["select date'2026-01-01'", 'select 2'],
    ],
    ['semicolons in names', 'select 1 as "a;""b;"; select 2', ['select 1 as "a;""b;"', 'select 2']],
    [
      'comments in a statement',
      'select 1 -- one; two\n; select /* ; /* ; */ ; */ 2',
      ['select 1 -- one; two\n', 'select /* ; /* ; */ ; */ 2'],
    ],
    [
      'dollar quotes',
      'do $$ begin; $a$ ; $a$ end $$; do $b_1$ ; $$ $b_1$',
      ['do $$ begin; $a$ ; $a$ end $$', 'do $b_1$ ; $$ $b_1$'],
    ],
    ['dollars in names and parameters', 'select a$b$, $1; select $2', ['select a$b$, $1', 'select $2']],
    [
      'parentheses',
      'create rule r as on insert to t do (delete from a; delete from b); select 2',
      ['create rule r as on insert to t do (delete from a; delete from b)', 'select 2'],
    ],
    [
      'functions in SQL itself',
      'create or replace function f() returns int begin atomic select 1; select case when true then 1 end; end; select 2',
      [
        'create or replace function f() returns int begin atomic select 1; select case when true then 1 end; end',
        'select 2',
      ],
    ],
    ['a transaction of its own', 'begin; select 1; end; select 2', ['begin', 'select 1', 'end', 'select 2']],
    ['a text without end', "select 1; select 'a; select 2", ['select 1', "select 'a; select 2"]],
    ['a comment without end', 'select 1; select 2 /* ;', ['select 1', 'select 2 /* ;']],
  ])('with %s is split where PostgreSQL would', (_what, script, statements) => {
    const found = splitStatements(script)
    expect(found.map(({ text }) => text)).toEqual(statements)
    for (const { text, offset } of found) expect(script.slice(offset).startsWith(text)).toBe(true)
  })

  it('with commands of psql is refused, and it is said where', () => {
    expect(() => splitStatements('select 1;\n  \\d')).toThrow(expect.objectContaining({ offset: 12 }))
    expect(splitStatements("select '\\d'")).toHaveLength(1)
  })

  it('of a megabyte in one text is split in one go', () => {
    const long = `select '${"a''".repeat(350_000)}'; select E'${'\\n'.repeat(350_000)}'; select 2`
    expect(splitStatements(long)).toHaveLength(3)
  })

  it('has lines and columns from 1, in characters', () => {
    expect(placeOf('a\r\nb😀c\nd', 6)).toEqual({ line: 2, column: 3, text: 'b😀c' })
    expect(placeOf('', 0)).toEqual({ line: 1, column: 1, text: '' })
  })
})

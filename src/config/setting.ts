import type { z } from 'zod'

/**
 * One variable of the environment. All that is said of it is said here: its name, what its text may be, and its line in
 * docs/settings.md and `.env.example`. Where it stands in a table is where its value is in the config.
 */
export interface Setting<T> {
  readonly variable: string
  /** Makes its value of its text, or of its absence. */
  readonly schema: z.ZodType<T, string | undefined>
  readonly about: About
}

export interface About {
  /** What it is for, in Markdown; links are relative to `docs/`. */
  help: string
  /** The text that stands for nothing said. Without it that is `undefined`. */
  preset?: string
  /** What the documentation calls the default, in Markdown, where that is not the preset. */
  shown?: string
  /** A text for `.env.example`, where that is not the preset. */
  example?: string
}

/** Settings by the names that their values have in the config, in groups. */
export type SettingsTable = { readonly [name: string]: Setting<unknown> | SettingsTable }

/** What a table becomes: the same names and groups, with values. */
export type ValuesOf<Table> = {
  -readonly [Name in keyof Table]: Table[Name] extends Setting<infer T> ? T : ValuesOf<Table[Name]>
}

/** From a text to a value of this type. */
type Kind<T> = z.ZodType<T, string>

export function setting<T>(variable: string, kind: Kind<T>, about: About & { preset: string }): Setting<T>
export function setting<T>(variable: string, kind: Kind<T>, about: About): Setting<T | undefined>
export function setting<T>(variable: string, kind: Kind<T>, about: About): Setting<T | undefined> {
  const { preset } = about
  return { variable, schema: preset === undefined ? kind.optional() : kind.prefault(preset), about }
}

/** All settings of a table and its groups, in their order. */
export function settingsIn(table: SettingsTable): Setting<unknown>[] {
  return Object.values(table).flatMap((entry) => (isSetting(entry) ? [entry] : settingsIn(entry)))
}

/** Puts values where their settings stand. @param values by variable, as each setting's schema has made them */
export function placeValues<Table extends SettingsTable>(
  table: Table,
  values: Record<string, unknown>,
): ValuesOf<Table> {
  const placed = Object.entries(table).map(([name, entry]) => [
    name,
    isSetting(entry) ? values[entry.variable] : placeValues(entry, values),
  ])
  return Object.fromEntries(placed) as ValuesOf<Table> // each name has what its own schema has made
}

function isSetting(entry: Setting<unknown> | SettingsTable): entry is Setting<unknown> {
  return typeof entry.variable === 'string'
}

import { z } from 'zod'

export type Json = Record<string, unknown>

export const JSON_TYPE = 'application/json'

/**
 * A schema as JSON Schema has it, of what may come in.
 *
 * @param named gets those that have a name, which are referred to then
 */
export function schemaJson(schema: z.ZodType, named: Json = {}): Json {
  const { $schema, $defs, ...json } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  const inPlace = JSON.parse(
    JSON.stringify({ json, $defs }).replaceAll('"#/$defs/', '"#/components/schemas/'),
  ) as {
    json: Json
    $defs?: Json
  }
  Object.assign(named, inPlace.$defs)
  return inPlace.json
}

export function ref(kind: string, name: string): Json {
  return { $ref: `#/components/${kind}/${name}` }
}

export function mapped<Name extends string>(names: Name[], make: (name: Name) => unknown): Json {
  return Object.fromEntries(names.map((name) => [name, make(name)]))
}

/** Which one of a name: its id, S3's null version, its number, or what was there at a moment. Undefined: what is there now. */
export type WantedVersion = { id: string } | { null: true } | { number: number } | { at: Date }

import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'

export interface Service {
  image?: string
  profiles?: string[]
  environment?: Record<string, string>
  depends_on?: string[] | Record<string, { condition: string }>
  volumes?: string[]
  healthcheck?: object
  configs?: { source: string; target: string }[]
}

export interface Compose {
  services: Record<string, Service>
  configs: Record<string, { content?: string; file?: string }>
  volumes: Record<string, unknown>
}

/** `docker-compose.yml`, as Compose reads it. Variables are left as they are. */
export async function readCompose(): Promise<Compose> {
  const text = await readFile(new URL('../../docker-compose.yml', import.meta.url), 'utf8')
  return parse(text, { merge: true }) as Compose
}

/** A config as its container finds it. */
export function configText({ configs }: Compose, name: string): string {
  return (configs[name]?.content ?? '').replaceAll('$$', '$')
}

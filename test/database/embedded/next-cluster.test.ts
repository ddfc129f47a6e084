import { existsSync } from 'node:fs'
import { readdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pino from 'pino'
import { expect, it, onTestFinished } from 'vitest'
import { startEmbedded } from '../../../src/database/embedded/embedded-postgres.ts'
import { markMoved, nextCluster, swapIn } from '../../../src/database/embedded/next-cluster.ts'
import { newFolder, removeFolder } from '../../support/command.ts'
import { asSuperuser } from '../../support/superuser.ts'

const logger = pino({ level: 'silent' })

/** A data folder whose cluster has a table of the test's own. */
async function newDataDir(): Promise<{ dataDir: string; cluster: string }> {
  const dataDir = await newFolder()
  onTestFinished(() => removeFolder(dataDir, []))
  const cluster = join(dataDir, 'postgres')
  const running = await startEmbedded({ clusterDir: cluster, logger })
  await asSuperuser(dataDir, (sql) => sql`create table mine ()`)
  await running.stop()
  return { dataDir, cluster }
}

async function startsWithMine(dataDir: string, cluster: string): Promise<boolean> {
  const running = await startEmbedded({ clusterDir: cluster, logger })
  try {
    const [row] = await asSuperuser(dataDir, (sql) => sql`select to_regclass('mine') is not null as mine`)
    return row?.mine === true
  } finally {
    await running.stop()
  }
}

it('a start puts a cluster in its place that a killed move had whole, and makes no new one', async () => {
  const { dataDir, cluster } = await newDataDir()
  await writeFile(join(cluster, 'strongroom-whole'), '')
  await rename(cluster, nextCluster(cluster)) // between the two renames of `swapIn`
  expect(await startsWithMine(dataDir, cluster)).toBe(true)
  expect(existsSync(nextCluster(cluster))).toBe(false)
  expect(existsSync(join(cluster, 'strongroom-whole'))).toBe(false)
})

it('one that is not whole stays where it is', async () => {
  const { dataDir, cluster } = await newDataDir()
  await rename(cluster, nextCluster(cluster))
  expect(await startsWithMine(dataDir, cluster)).toBe(false)
  expect(existsSync(nextCluster(cluster))).toBe(true)
})

it('a cluster whose rows went elsewhere is not started, and gives way to another one', async () => {
  const { dataDir, cluster } = await newDataDir()
  await markMoved(cluster, 'another PostgreSQL')
  await expect(startEmbedded({ clusterDir: cluster, logger })).rejects.toThrow(
    /was moved to another PostgreSQL on \d{4}-\d\d-\d\d: set DATABASE_URL/,
  )
  const next = await startEmbedded({ clusterDir: nextCluster(cluster), logger })
  await next.stop()
  expect(await swapIn(cluster)).toMatch(/postgres-\d+$/)
  expect(await startsWithMine(dataDir, cluster)).toBe(false)
  expect((await readdir(dataDir)).filter((name) => name.startsWith('postgres')).length).toBe(2)
})

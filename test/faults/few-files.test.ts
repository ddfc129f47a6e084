import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { RawConnection, rawRequest } from '../support/raw-http.ts'
import { IN_FILES } from '../support/server.ts'
import { until } from '../support/wait.ts'

const setLimit = promisify(execFile)
const CROWD = 40
const BYTES = 'x'.repeat(400_000)

let folder: string
let database: TestDatabase
let proxy: PostgresProxy
let command: Command
let url: string
let auth: string
const crowd: RawConnection[] = []

beforeAll(async () => {
  folder = await newFolder()
  database = await createTestDatabase()
  proxy = await openPostgresProxy()
  command = new Command(['serve'], {
    cwd: folder,
    env: {
      ...IN_FILES,
      STORAGE_PORT: '0',
      STORAGE_DATABASE_POOL: '3',
      DATABASE_URL: proxy.url(database.name),
    },
  })
  url = await command.url()
  const keys = JSON.parse(await readFile(join(folder, 'storage-data', 'keys.json'), 'utf8'))
  auth = `Bearer ${keys.serviceKey}`
  await send('POST', '/bucket', JSON.stringify({ name: 'box' }), { 'content-type': 'application/json' })
})

afterAll(async () => {
  for (const connection of crowd) connection.abort()
  await removeFolder(folder, command ? [command] : [])
  await proxy?.close()
  await database?.drop()
})

function send(method: string, path: string, body?: string, headers: Record<string, string> = {}) {
  return fetch(`${url}${path}`, {
    method,
    headers: { authorization: auth, ...headers },
    ...(body !== undefined && { body }),
  })
}

const openFiles = async () => (await readdir(`/proc/${command.child.pid}/fd`)).length

/** Lets the server open so many files more than it has open now. */
async function allowMore(files: number): Promise<void> {
  const most = (await openFiles()) + files
  await setLimit('prlimit', ['--pid', String(command.child.pid), `--nofile=${most}:20000`])
}

it('a server that can open no more files answers 503, loses nothing, and goes on when it can', async () => {
  const lines = [`Authorization: ${auth}`]
  expect((await send('PUT', '/object/box/before', BYTES)).status).toBe(201)
  const connections = await Promise.all(Array.from({ length: 12 }, () => RawConnection.open(url)))
  crowd.push(...connections)
  for (const connection of connections) {
    await connection.send(rawRequest('GET', '/object/box/before', lines))
    expect((await connection.response()).status).toBe(200)
  }
  await allowMore(2)

  const answers = await Promise.all(
    connections.map(async (connection, index) => {
      await connection.send(rawRequest('PUT', `/object/box/short-${index}`, lines, BYTES))
      return connection.response()
    }),
  )
  for (const { status, headers } of answers) {
    expect([201, 503]).toContain(status)
    expect(headers['retry-after'] !== undefined).toBe(status === 503)
  }
  expect(answers.some(({ status }) => status === 503)).toBe(true)
  // Nor is there a file for these.
  for (let index = 0; index < CROWD; index++) crowd.push(await RawConnection.open(url))
  expect(command.isRunning).toBe(true)
  for (const connection of crowd) connection.abort()

  await allowMore(200)
  await until(
    async () => (await send('GET', '/health').catch(() => null))?.status === 200,
    'the server is well',
  )
  expect((await (await send('GET', '/object/box/before')).text()).length).toBe(BYTES.length)
  for (const [index, { status }] of answers.entries()) {
    expect((await send('GET', `/object/box/short-${index}`)).status).toBe(status === 201 ? 200 : 404)
  }
  expect((await send('PUT', '/object/box/after', BYTES)).status).toBe(201)
  await until(async () => {
    const [row] = await database.admin`
      select (select count(*)::int from storage.uploads) as uploads,
             (select count(*)::int from storage.objects) as objects`
    const files = await readdir(join(folder, 'storage-data', 'objects'), {
      recursive: true,
      withFileTypes: true,
    })
    return row?.uploads === 0 && files.filter((entry) => entry.isFile()).length === row.objects
  }, 'each object has a file and each file an object')
})

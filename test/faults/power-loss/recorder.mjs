/**
 * Preloaded into a server (`node --import`): writes down what it does to files, and what it has flushed. The
 * journal outlives `kill -9`, and each file that is made gets a second name, so that a removal that was never
 * flushed can be undone.
 *
 * The settings come as JSON in POWER_LOSS: see `Recording` in machine.ts. Plain JavaScript, because Node 20 must
 * load it beside built code. A function that is missing here shows itself: the journal then disagrees with the disk.
 */

import childProcess from 'node:child_process'
import fs from 'node:fs'
import promises from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join, resolve, sep } from 'node:path'

const { folder, journal, shadows, diesAt, canLink, database } = JSON.parse(process.env.POWER_LOSS)
const real = { ...fs }
const really = { ...promises }
const journalFd = real.openSync(journal, 'a')
let calls = 0
let changes = 0

/** Writes one line; the power may fail after it, unless it is only about something that is opened. */
function write(call, line) {
  real.writeSync(journalFd, `${JSON.stringify(line)}\n`)
  if (call !== 'open') changes++
  if (changes === diesAt) process.kill(process.pid, 'SIGKILL')
}

function begin(call, fields) {
  calls++
  const id = `${process.pid}.${calls}`
  write(call, { id, call, ...fields })
  return id
}

async function record(call, fields, work, resultOf = () => null) {
  const id = begin(call, fields)
  try {
    const value = await work()
    write(call, { id, result: resultOf(value, id) })
    return value
  } catch (error) {
    write(call, { id, error: error.code ?? String(error) })
    throw error
  }
}

function recordSync(call, fields, work, resultOf = () => null) {
  const id = begin(call, fields)
  try {
    const value = work()
    write(call, { id, result: resultOf(value, id) })
    return value
  } catch (error) {
    write(call, { id, error: error.code ?? String(error) })
    throw error
  }
}

const isOurs = (path) => typeof path === 'string' && `${resolve(path)}${sep}`.startsWith(folder + sep)

/** Gives a new file its second name; returns its length in bytes. */
function shadow(path, id) {
  real.linkSync(path, join(shadows, id))
  return real.statSync(path).size
}

const makesFile = (flags = 'r') =>
  typeof flags === 'number' ? (flags & fs.constants.O_CREAT) !== 0 : /[wa]/.test(flags)

/** Writes down the flushes of an open file or folder, and what is written to it. `of` is the call that opened it. */
function watch(handle, of) {
  const { write, writev, writeFile, appendFile, sync, datasync, truncate } = handle
  const bytesWritten = ({ bytesWritten }) => bytesWritten
  const watched = (call, work, resultOf) => record(call, { of }, work, resultOf)
  handle.write = (...args) => watched('write', () => write.apply(handle, args), bytesWritten)
  handle.writev = (...args) => watched('write', () => writev.apply(handle, args), bytesWritten)
  handle.writeFile = (data, ...rest) =>
    watched(
      'write',
      () => writeFile.call(handle, data, ...rest),
      () => Buffer.byteLength(data),
    )
  handle.appendFile = (data, ...rest) =>
    watched(
      'write',
      () => appendFile.call(handle, data, ...rest),
      () => Buffer.byteLength(data),
    )
  handle.truncate = (length = 0) => record('truncate', { of, length }, () => truncate.call(handle, length))
  handle.sync = () => watched('sync', () => sync.call(handle))
  handle.datasync = () => watched('sync', () => datasync.call(handle))
}

promises.open = (path, flags, mode) => {
  if (!isOurs(path)) return really.open(path, flags, mode)
  const isNew = makesFile(flags) && !real.existsSync(path)
  return record(
    isNew ? 'create' : 'open',
    { path: resolve(path) },
    () => really.open(path, flags, mode),
    (handle, id) => {
      watch(handle, id)
      return isNew ? shadow(path, id) : null
    },
  )
}

promises.writeFile = async (path, data, options) => {
  const write = () => really.writeFile(path, data, options)
  if (!isOurs(path)) return write()
  let of
  await record('create', { path: resolve(path) }, write, (_, id) => {
    of = id
    return shadow(path, id)
  })
  if (options?.flush) await record('sync', { of }, () => {})
}

promises.copyFile = (from, to, ...rest) => {
  const copy = () => really.copyFile(from, to, ...rest)
  return isOurs(to) ? record('create', { path: resolve(to) }, copy, (_, id) => shadow(to, id)) : copy()
}

promises.link = async (from, to) => {
  if (!isOurs(to)) return really.link(from, to)
  if (!canLink) throw Object.assign(new Error('EPERM: this disk has no links'), { code: 'EPERM' })
  return record('link', { path: resolve(from), to: resolve(to) }, () => really.link(from, to))
}

promises.rename = (from, to) => {
  const rename = () => really.rename(from, to)
  return isOurs(to) ? record('rename', { path: resolve(from), to: resolve(to) }, rename) : rename()
}

for (const call of ['unlink', 'rmdir', 'rm']) {
  promises[call] = (path, ...rest) => {
    const remove = () => really[call](path, ...rest)
    return isOurs(path) ? record('remove', { path: resolve(path) }, remove) : remove()
  }
}

/** The outermost folder that a `mkdir` has made. */
const firstMade = (path, options) => (made) => (options?.recursive ? (made ?? null) : resolve(path))

promises.mkdir = (path, options) => {
  const make = () => really.mkdir(path, options)
  return isOurs(path) ? record('mkdir', { path: resolve(path) }, make, firstMade(path, options)) : make()
}

fs.mkdirSync = (path, options) => {
  const make = () => real.mkdirSync(path, options)
  return isOurs(path) ? recordSync('mkdir', { path: resolve(path) }, make, firstMade(path, options)) : make()
}

/** The call that opened each descriptor. */
const openers = new Map()

fs.openSync = (path, flags, mode) => {
  const open = () => real.openSync(path, flags, mode)
  if (!isOurs(path) || makesFile(flags)) return open()
  return recordSync('open', { path: resolve(path) }, open, (fd, id) => {
    openers.set(fd, id)
    return null
  })
}

fs.fsyncSync = (fd) => {
  const of = openers.get(fd)
  return of === undefined ? real.fsyncSync(fd) : recordSync('sync', { of }, () => real.fsyncSync(fd))
}

fs.closeSync = (fd) => {
  openers.delete(fd)
  return real.closeSync(fd)
}

const { spawn } = childProcess

// PostgreSQL has a recorder of its own.
childProcess.spawn = (command, args, options) =>
  command.endsWith('/bin/postgres')
    ? spawn(command, args, { ...options, env: { ...options.env, ...database } })
    : spawn(command, args, options)

// So that `import { open } from 'node:fs/promises'` gets these too.
syncBuiltinESMExports()

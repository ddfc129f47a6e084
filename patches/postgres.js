/**
 * Repairs the driver `postgres` 3.4.9 in node_modules, where it was installed; runs after `npm ci`. Twice is harmless.
 *
 * When a connection is lost, the unrepaired driver
 * - writes to a socket that is null, out of reach of any `catch`, which ends the process
 *   (https://github.com/porsager/postgres/issues/1208, 1154, 1066);
 * - forgets to disarm its write timer, so that the connection never gets through again;
 * - lets a transaction that was cut off go on: its next statement, at the latest its `rollback`, goes to whatever
 *   session the connection has by then, and undoes somebody else's transaction, who is told that it was committed.
 *
 * To be dropped once a release has all three; a release that does not fit these texts stops the installation.
 */

import { readFileSync, writeFileSync } from 'node:fs'

const DRIVER = new URL('../node_modules/postgres/src/', import.meta.url)

const REPAIRS = {
  'connection.js': [
    [
      `    if (stream)
      return queryError(q, Errors.generic('COPY_IN_PROGRESS'`,
      `    if (socket === null) {
      queryError(q, Errors.connection('CONNECTION_CLOSED', options))
      return true
    }

    if (stream)
      return queryError(q, Errors.generic('COPY_IN_PROGRESS'`,
    ],
    [
      `    const x = socket.write(chunk, fn)
    nextWriteTimer !== null && clearImmediate(nextWriteTimer)`,
      `    const x = socket === null || socket.write(chunk, fn)
    nextWriteTimer !== null && clearImmediate(nextWriteTimer)`,
    ],
    [
      `    incomings = null
    clearImmediate(nextWriteTimer)
    socket.removeListener('data', data)`,
      `    incomings = null
    clearImmediate(nextWriteTimer)
    chunk = nextWriteTimer = null
    socket.removeListener('data', data)`,
    ],
    [
      `    !hadError && (query || sent.length) && error(Errors.connection('CONNECTION_CLOSED', options, socket))
`,
      `    ;(query || sent.length) && error(Errors.connection('CONNECTION_CLOSED', options, socket))
    query = results = errorResponse = null
`,
    ],
  ],
  'index.js': [
    [
      `      , connection
      , prepare = null

    try {`,
      `      , connection
      , lost = null
      , prepare = null

    try {`,
    ],
    [
      `        new Promise((_, reject) => connection.onclose = reject)
`,
      `        new Promise((_, reject) => connection.onclose = e => reject(lost = e))
`,
    ],
    [
      `        q.catch(e => uncaughtError || (uncaughtError = e))
        c.queue === full`,
      `        q.catch(e => uncaughtError || (uncaughtError = e))
        if (lost)
          return q.reject(lost)
        c.queue === full`,
    ],
  ],
}

for (const [name, repairs] of Object.entries(REPAIRS)) {
  const file = new URL(name, DRIVER)
  let text = readFileSync(file, 'utf8')
  for (const [before, after] of repairs) {
    if (text.includes(after)) continue
    if (text.split(before).length !== 2) throw new Error(`patches/postgres.js does not fit ${file.pathname}`)
    text = text.replace(before, () => after)
  }
  writeFileSync(file, text)
}

/**
 * Repairs the driver `postgres` 3.4.9 in node_modules, where it was installed; runs after `npm ci`. Twice is harmless.
 *
 * When a connection is lost, the unrepaired driver
 * - writes to a socket that is null, out of reach of any `catch`, which ends the process
 *   (https://github.com/porsager/postgres/issues/1208, 1154, 1066);
 * - forgets to disarm its write timer, so that the connection never gets through again;
 * - keeps the query that was running, whose answer is then taken from the next session; if that was its own first
 *   one, for the types, nobody catches the failure, which ends the process;
 * - lets a transaction that was cut off go on: its next statement, at the latest its `rollback`, goes to whatever
 *   session the connection has by then, and has its part in somebody else's transaction;
 * - connects again without a pause for as long as PostgreSQL, or what stands before it, closes what it accepts, and
 *   lets its callers wait.
 *
 * And without any loss it forgets who has begun a transaction if the `begin` fills what may be under
 * way on the connection (a hundred statements, or what the socket takes): the transaction then fails beyond the reach of
 * any `catch`, and stays open under the statements of others. A query that was given up while its connection was made
 * takes that out of the pool for good.
 *
 * When PostgreSQL has no place for one more connection (53300), the query that was to be its first is told so, though
 * others are there that could answer it. Repaired, it waits for those; the pool tries again after a second, with one
 * connection at a time until it gets one, and tells `onrefused`. Without any connection whoever waits is told.
 *
 * To be dropped once a release has all of it; a release that does not fit these texts stops the installation, and so
 * does a driver that was repaired by another version of this file.
 */

import { readFileSync, writeFileSync } from 'node:fs'

const DRIVER = new URL('../node_modules/postgres/src/', import.meta.url)

const REPAIRS = {
  'connection.js': [
    [
      `      return write(toBuffer(q))
        && !q.describeFirst
        && !q.cursorFn
        && sent.length < max_pipeline
        && (!q.options.onexecute || q.options.onexecute(connection))
`,
      `      const flows = write(toBuffer(q))
      if (q.options.onexecute)
        return q.options.onexecute(connection)
      return flows
        && !q.describeFirst
        && !q.cursorFn
        && sent.length < max_pipeline
`,
    ],
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
      `    socket = null

    if (initial)
      return reconnect()

    !hadError && (query || sent.length) && error(Errors.connection('CONNECTION_CLOSED', options, socket))
`,
      `    socket = null

    const lost = Errors.connection('CONNECTION_CLOSED', options)
    query && queryError(query, lost)
    while (sent.length)
      queryError(sent.shift(), lost)
    stream && (stream.destroy(lost), stream = null)
    query = results = errorResponse = null

    if (initial && options.host[retries + 1])
      return reconnect()

    initial && error(lost)

`,
    ],
    [
      `        return fetchArrayTypes()
`,
      `        return fetchArrayTypes().catch(() => {}) // told to whoever waits for the connection
`,
    ],
    [
      `      initial && !initial.reserve && execute(initial)
      options.shared.retries = retries = 0
      initial = null
      return
`,
      `      const first = initial
      options.shared.retries = retries = 0
      options.shared.refused = false
      initial = null
      if (!first.reserve && !first.cancelled)
        return execute(first)
`,
    ],
    [
      `{ onopen = noop, onend = noop, onclose = noop } = {}`,
      `{ onopen = noop, onend = noop, onclose = noop, onrefused = noop } = {}`,
    ],
    [
      `      errored(Errors.postgres(parseError(x)))
`,
      `      const refusal = Errors.postgres(parseError(x))
      initial && refusal.code === '53300' && onrefused(connection, initial, refusal)
        ? initial = null
        : errored(refusal)
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
    [
      `  let ending = false
`,
      `  let ending = false
    , resting = null
`,
    ],
    [
      `Connection(options, queues, { onopen, onend, onclose })`,
      `Connection(options, queues, { onopen, onend, onclose, onrefused })`,
    ],
    [
      `    reserve,
    listen,
    begin,
`,
      `    reserve,
    listen,
    begin,
    countOpen,
`,
    ],
    [
      `        closed.length && connect(closed.shift(), query)
`,
      `        mayConnect() && connect(closed.shift(), query)
`,
    ],
    [
      `    if (closed.length)
      return connect(closed.shift(), query)
`,
      `    if (mayConnect())
      return connect(closed.shift(), query)
`,
    ],
    [
      `  function connect(c, query) {
`,
      `  function countOpen() {
    return open.length + busy.length + full.length + reserved.length
  }

  function mayConnect() {
    return closed.length && !(options.shared.refused && (resting || connecting.length))
  }

  function onrefused(c, query, error) {
    move(c, ended) // until it has closed
    options.shared.refused = true
    options.onrefused && options.onrefused(error)
    if (countOpen() + connecting.length === 0) {
      while (queries.length)
        queries.shift().reject(error)
      return false
    }

    resting = resting || setTimeout(rested, 1000).unref()
    query.reserve || query.cancelled || handler(query)
    return true
  }

  function rested() {
    resting = null
    queries.length && mayConnect() && connect(closed.shift(), queries.shift())
  }

  function connect(c, query) {
`,
    ],
    [
      `    queries.length && connect(c, queries.shift())
`,
      `    queries.length && mayConnect() && connect(c, queries.shift())
`,
    ],
    [
      `    onclose         : o.onclose,
`,
      `    onclose         : o.onclose,
    onrefused       : o.onrefused,
`,
    ],
  ],
}

for (const [name, repairs] of Object.entries(REPAIRS)) {
  const file = new URL(name, DRIVER)
  const installed = readFileSync(file, 'utf8')
  let text = installed
  for (const [before, after] of repairs) {
    if (text.includes(after)) continue
    if (text.split(before).length !== 2) throw new Error(`${file.pathname} is not as published: run npm ci`)
    text = text.replace(before, () => after)
  }
  // Who may only start it need not be able to write here.
  if (text !== installed) writeFileSync(file, text)
}

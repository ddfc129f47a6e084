// Goes into a server's process with `--import`. At each SIGUSR2 all garbage is collected, and what is left is written
// to the file of GAUGE_FILE: memory in bytes, and what keeps the process busy, by kind.
import { renameSync, writeFileSync } from 'node:fs'

const file = process.env.GAUGE_FILE

process.on('SIGUSR2', () => {
  globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  writeFileSync(`${file}.new`, JSON.stringify({ heapUsed, external }))
  renameSync(`${file}.new`, file)
})

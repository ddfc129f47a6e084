import { randomUUID } from 'node:crypto'
import { LocalBackend } from '../../../dist/backend/local/local-backend.js'

/*
 * Makes versions of parts until it is killed, several at once, and says what it begins and what was acknowledged: a line
 * of JSON each. What a part has is told by its version, its number and its size.
 */

const [root, bucket] = process.argv.slice(2)
const backend = new LocalBackend({ root, fsync: false }) // the kernel outlives us

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const below = (limit) => Math.floor(Math.random() * limit)

async function work() {
  for (let round = 0; ; round++) {
    const version = randomUUID()
    const at = { bucket, version }
    const count = 1 + below(5)
    const parts = []
    const write = async (number) => {
      const bytes = Buffer.alloc(below(2_000_000), `${version} ${number} `)
      const part = await backend.writePart(at, number, bytes, { maxBytes: bytes.length })
      parts[number - 1] = part
      say({ what: 'part', version, part })
    }
    await Promise.all(Array.from({ length: count }, (_, index) => write(index + 1)))
    await write(1) // again, in the place of the first
    if (round % 4 === 3) {
      say({ what: 'discarding', version })
      await backend.discard(at)
      say({ what: 'discarded', version })
    } else {
      say({ what: 'assembling', version, parts })
      await backend.assemble(at, parts)
      say({ what: 'assembled', version, parts })
    }
  }
}

await Promise.all([work(), work(), work()])

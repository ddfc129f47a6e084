import { randomInt, randomUUID } from 'node:crypto'

/** So many versions begin alike. Many more in one folder were measured slower where many have just been removed. */
const IN_A_ROW = 256

let start = randomInt(256)
let count = 0

/**
 * A version for bytes that are to be a file: a random UUID whose first two digits are those of the one before it in this
 * process, until it is the next two's turn. These are the file's folder (LocalBackend), so that files of the same moment are
 * in one folder, which has to be made once for all of them, and which they flush together.
 */
export function newVersion(): string {
  if (++count > IN_A_ROW) {
    count = 1
    start = (start + 1) % 256
  }
  return start.toString(16).padStart(2, '0') + randomUUID().slice(2)
}

import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'

/**
 * scrypt takes a second on purpose, and the library computes it where it is called. Here that is a thread of its own. Text,
 * since a file would have another name when it is built than when it is tested.
 */
const CODE = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { library, identity, sealed, passphrase } = workerData
  import(library).then(async ({ Decrypter, Encrypter, armor }) => {
    if (identity !== undefined) {
      const encrypter = new Encrypter()
      encrypter.setPassphrase(passphrase)
      return armor.encode(await encrypter.encrypt(identity))
    }
    const decrypter = new Decrypter()
    decrypter.addPassphrase(passphrase)
    return decrypter.decrypt(armor.decode(sealed), 'text')
  }).then((result) => parentPort.postMessage(result))
`

/** An identity as `age` keeps it under a passphrase: `age -d -i` takes the text that comes of it as a file. */
export function sealIdentity(identity: string, passphrase: string): Promise<string> {
  return inThread({ identity, passphrase })
}

/** @throws when the passphrase is another one, or the text is damaged: that cannot be told apart */
export function openIdentity(sealed: string, passphrase: string): Promise<string> {
  return inThread({ sealed, passphrase })
}

function inThread(work: { identity?: string; sealed?: string; passphrase: string }): Promise<string> {
  const library = pathToFileURL(createRequire(import.meta.url).resolve('age-encryption')).href
  return new Promise((resolve, reject) => {
    const worker = new Worker(CODE, {
      eval: true,
      execArgv: [],
      name: 'scrypt',
      workerData: { ...work, library },
    })
    worker
      .once('message', resolve)
      .once('error', reject)
      .once('exit', () => reject(new Error('The thread that computes scrypt has ended')))
  })
}

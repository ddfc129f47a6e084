import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, inject, it } from 'vitest'
import { newFolder, removeFolder } from '../../support/command.ts'
import { describeWith } from '../../support/installed.ts'
import { s3Env } from '../../support/s3.ts'
import { type S3TestServer, startS3Server } from '../../support/s3-protocol.ts'
import { seededBytes, sha256 } from '../../support/seeded-bytes.ts'
import { isFull } from '../size.ts'

const MIB = 1024 * 1024

/** More than what any of the programs sends as one piece. */
export const LARGE = (isFull ? 200 : 20) * MIB

/** Where somebody uses programs that speak S3: a server, and a folder that is their home, too. */
export class Workplace {
  readonly server: S3TestServer
  readonly folder: string
  #buckets = 0

  private constructor(server: S3TestServer, folder: string) {
    this.server = server
    this.folder = folder
  }

  static async open(): Promise<Workplace> {
    const s3 = inject('s3')
    return new Workplace(await startS3Server(s3 ? await s3Env(s3) : {}), await newFolder())
  }

  async close(): Promise<void> {
    await this.server.close()
    await removeFolder(this.folder, [])
  }

  /** Makes a bucket with a name of its own, and returns that. */
  async bucket(settings: Record<string, unknown> = {}): Promise<string> {
    const name = `bucket-${++this.#buckets}`
    await this.server.createBucket(name, settings)
    return name
  }

  /**
   * Runs a program to its end, with the pair of keys in its environment and nothing of the test's own but the PATH.
   *
   * @returns what it has printed
   * @throws when it fails, with what it says of it
   */
  async run(program: string, args: string[], env: Record<string, string> = {}): Promise<string> {
    const { accessKeyId, secretAccessKey } = this.server.keys3
    const { stdout } = await promisify(execFile)(program, args, {
      cwd: this.folder,
      maxBuffer: 16 * MIB,
      env: {
        PATH: process.env.PATH,
        HOME: this.folder,
        LC_ALL: 'C.UTF-8',
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        AWS_DEFAULT_REGION: 'us-east-1',
        // Nobody is asked who they are but this environment.
        AWS_EC2_METADATA_DISABLED: 'true',
        ...env,
      },
    })
    return stdout
  }

  async write(file: string, content: string | Buffer): Promise<void> {
    const path = join(this.folder, file)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content)
  }

  read(file: string): Promise<Buffer> {
    return readFile(join(this.folder, file))
  }

  /** Writes files into a folder, a few bytes each but for one. */
  async writeTree(folder: string, names: string[]): Promise<void> {
    for (const [index, name] of names.entries()) {
      await this.write(join(folder, name), seededBytes(name, index === 0 ? 300_000 : 10 * index))
    }
  }

  /** The hashes of all files below a folder, by their names. */
  async tree(folder: string): Promise<Record<string, string>> {
    const root = join(this.folder, folder)
    const entries = await readdir(root, { recursive: true, withFileTypes: true })
    const paths = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    return Object.fromEntries(
      await Promise.all(
        paths.toSorted().map(async (path) => [path, sha256(await this.read(join(folder, path)))]),
      ),
    )
  }

  /** What REST has of a bucket's objects. */
  async names(bucket: string): Promise<string[]> {
    const rows = await this.server.admin<{ name: string }[]>`
      select name from storage.objects where bucket_id = ${bucket} order by name collate "C"`
    return rows.map(({ name }) => name)
  }
}

/**
 * Runs `suite` with a program where that is installed: beside a server with an S3 store in those test runs that have
 * one, and else with files (vitest.config.ts).
 */
export function describeProgram(
  program: string,
  name: string,
  suite: (place: () => Workplace) => void,
): void {
  if (inject('s3') === null) return
  describeWith(program, name, () => {
    let place: Workplace
    beforeAll(async () => {
      place = await Workplace.open()
    })
    afterAll(() => place?.close())
    suite(() => place)
  })
}

/** What moves no bytes that matter, and is told beside files: once more with an S3 store only in full size. */
export const itBesideFiles = it.skipIf(!isFull && Boolean(inject('s3')))

/** Names that are legal and not easy: each program has its own way to write them into a URL. */
export const ODD_NAMES = [
  'plain.bin',
  'a b.txt',
  'in/a folder/deep/c+d.txt',
  'in/50%.txt',
  'in/naïve 图.txt',
  "quotes ' and (brackets) [x] {y}.txt",
  'a=b&c;d,e@f$g!h~.txt',
  'hash#question.txt',
]

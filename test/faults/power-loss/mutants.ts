import type { Mutant } from '../mutant.ts'

/** A copy of the build that leaves out a flush. */
export interface UnflushedMutant extends Mutant {
  /** Where the disk must not be able to link, so that a copy is one of bytes. */
  copiesBytes?: boolean
  /** Whether the bytes must be elsewhere, since the folder of the files flushes the same name at each start. */
  keepsNoFiles?: boolean
  /** Whether it shows where small bytes are kept in PostgreSQL. */
  keepsInline?: boolean
}

/** One for every flush of bytes and of names, those of every upload first. */
export const MUTANTS: [UnflushedMutant, ...UnflushedMutant[]] = [
  {
    omits: 'the bytes of a file',
    file: 'backend/local/files.js',
    find: 'await mapped(flushFile(file));',
    replace: ';',
  },
  {
    omits: 'the bytes of a piece',
    file: 'backend/local/resumable-file.js',
    find: 'await mapped(flushFile(file));',
    replace: ';',
  },
  {
    omits: 'the name of a file',
    file: 'backend/local/folders.js',
    find: 'await this.#flushes.flush(dirname(path));\n        for',
    replace: 'for',
  },
  {
    omits: 'the name of a bucket folder',
    file: 'backend/local/folders.js',
    find: 'for (const folder of this.#above(path)) {',
    replace: 'for (const folder of this.#above(path).slice(0, 1)) {',
  },
  {
    omits: 'the name of a copy',
    file: 'backend/local/local-backend.js',
    find: '() => mapped(this.#folders.flushName(target))',
    replace: 'async () => {}',
  },
  {
    omits: 'the name of a shard folder',
    file: 'backend/local/folders.js',
    find: 'for (const folder of this.#above(path)) {',
    replace: 'for (const folder of this.#above(path).slice(1)) {',
  },
  {
    omits: 'the names of a new file',
    file: 'backend/local/files.js',
    find: 'settleBoth(keep(), mapped(this.folders.flushName(path)))',
    replace: 'keep()',
  },
  {
    omits: 'the bytes of a copy',
    file: 'backend/local/files.js',
    find: '() => mapped(flushPath(target))',
    replace: 'async () => {}',
    copiesBytes: true,
  },
  {
    omits: 'the list of files that are one version',
    file: 'backend/local/joined-files.js',
    find: 'await this.#files.create(path, (file) => writeAll(file, [Buffer.from(JSON.stringify(pieces))], 0));',
    replace: "await (await import('node:fs/promises')).writeFile(path, JSON.stringify(pieces));",
  },
  {
    omits: 'the name of what was made of parts',
    file: 'backend/local/part-files.js',
    find: 'await mapped(this.#files.folders.flushName(target));',
    replace: '',
  },
  {
    omits: 'the bytes that were added to a part',
    file: 'backend/local/part-files.js',
    find: 'await this.#files.flush(file);',
    replace: ';',
  },
  {
    omits: 'the name of objects/',
    file: 'backend/local/folders.js',
    find: 'flushPathSync(dirname(folder));',
    replace: '',
  },
  {
    omits: 'the bytes of keys.json',
    file: 'server/keys.js',
    find: 'flush: true',
    replace: 'flush: false',
  },
  {
    omits: 'the name of the data folder',
    file: 'server/keys.js',
    find: 'await flushPath(dirname(folder));',
    replace: '',
  },
  {
    omits: "the name of PostgreSQL's folder",
    file: 'database/embedded/atomic-folder.js',
    find: 'await flushPath(dirname(path));',
    replace: '',
    keepsNoFiles: true,
  },
]

/** One for each of PostgreSQL's settings that decide what it flushes. */
export const DATABASE_MUTANTS: [UnflushedMutant, ...UnflushedMutant[]] = [
  {
    omits: "PostgreSQL's log at a commit",
    file: 'database/embedded/embedded-postgres.js',
    find: '...DEFAULTS,\n',
    replace: "...DEFAULTS, synchronous_commit: 'off', wal_writer_delay: '10s',\n",
    keepsInline: true,
  },
  {
    omits: "PostgreSQL's files",
    file: 'database/embedded/embedded-postgres.js',
    find: '...DEFAULTS,\n',
    replace: "...DEFAULTS, fsync: 'off',\n",
    keepsInline: true,
  },
]

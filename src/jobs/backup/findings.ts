import { hasFault } from './backup-error.ts'

/** Something that is not as it was written. */
export interface Finding {
  /**
   * `missing`: it is not there; `changed`: it is another one than was written; `unreadable`: nobody can say; `unlisted`: it is
   * there, and no list names it.
   */
  kind: 'missing' | 'changed' | 'unreadable' | 'unlisted'
  /** From the target on. */
  path: string
  /** What goes on after the path. */
  why: string
  /** Some of the objects that cannot be restored as they were, as `<bucket>/<name>`. */
  objects: string[]
}

/** How many are kept of a backup in ruins. */
const MOST = 1000

/** How many objects are named with one finding. */
const MOST_OBJECTS = 20

/** What a verification has found, as much of it as anybody can read. */
export class Findings {
  readonly list: Finding[] = []
  /** How many there were in all. */
  count = 0
  /** By path, of those that are kept. */
  readonly #byPath = new Map<string, Finding>()
  /** By version, of those whose bytes they are about. */
  readonly #byVersion = new Map<string, Finding>()

  add(kind: Finding['kind'], path: string, why: string): Finding {
    const finding: Finding = { kind, path, why, objects: [] }
    this.count++
    if (this.list.length < MOST) {
      this.list.push(finding)
      this.#byPath.set(path, finding)
    }
    return finding
  }

  of(path: string): Finding | undefined {
    return this.#byPath.get(path)
  }

  /** Notes what befalls the bytes of a version, to be named by its objects. */
  concerns(version: string, finding: Finding): void {
    if (this.#byVersion.size < MOST * MOST_OBJECTS) this.#byVersion.set(version, finding)
  }

  nameObject(version: string, object: string): void {
    const finding = this.#byVersion.get(version)
    if (finding && finding.objects.length < MOST_OBJECTS) finding.objects.push(object)
  }
}

/** What it says of a file that it could not be read. */
export function kindOf(error: unknown): Finding['kind'] {
  if (hasFault(error, 'MissingBackupFile')) return 'missing'
  return hasFault(error, 'DamagedBackup') ? 'changed' : 'unreadable'
}

import type { Manifest } from '../../../src/jobs/backup/manifest.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'

/** A manifest with something in every field. */
export function newManifest(change: Partial<Manifest> = {}): Manifest {
  return {
    format: 1,
    id: uuidV7(),
    type: 'full',
    parent: null,
    created_at: '2026-11-28T10:15:01.000Z',
    moment: '2026-11-28T10:15:00.123Z',
    server_version: '0.1.0',
    schema: '0037_backups',
    functions_revision: 40,
    database: { kind: 'own', postgres: '15.8' },
    buckets: null,
    former: { versions: true, trash: false },
    with_keys: false,
    totals: { objects: 0, bytes: 0, files: 0, new_bytes: 0 },
    damaged: 0,
    sha256: { files: 'a'.repeat(64), bytes: 'b'.repeat(64) },
    ...change,
  }
}

import type { Mutant } from '../mutant.ts'

/** One for each thing that keeps operations in order. */
export const MUTANTS: Mutant[] = [
  {
    omits: 'the look whether a row is still the one that was judged',
    file: 'database/queries/save-object.js',
    find: 'where objects.xmin::text = :mark',
    replace: 'where (:mark::text is null) is not null',
  },
  {
    omits: 'to drop from memory what it has changed, before it says so',
    file: 'storage/object/changes.js',
    find: 'await invalidate(changes);\n        return result;',
    replace: 'return result;',
  },
  {
    omits: 'to drop from memory what the other server has changed',
    file: 'storage/reading/cache-invalidation.js',
    find: 'rowCache.drop(bucket, path);',
    replace: ';',
  },
  {
    omits: 'to look once more when the bytes that it was about to send are gone',
    file: 'storage/reading/object-reads.js',
    find: 'if (!hasSameBytes(object, before))\n                    continue;',
    replace: '',
  },
]

/*
 * What only one process does at a time. All servers know these by their names (decision 0025).
 */

export const CLEANUP_TURN = 'cleanup'

/** Of whatever brings the bytes of objects to another place. */
export const MOVE_TURN = 'backend-move'

/** Of whoever makes a backup, restores one, or removes one. */
export const BACKUP_TURN = 'backup'

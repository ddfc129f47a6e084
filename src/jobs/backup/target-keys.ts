import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { BackupError } from './backup-error.ts'
import { readIdentityFile } from './identity-file.ts'
import { openIdentity, sealIdentity } from './sealed-identity.ts'

/** What backups are encrypted and decrypted with; nothing of it where they are not. */
export interface BackupKeys {
  passphrase?: string | undefined
  /** For whom backups are encrypted, as `age1…`. */
  recipient?: string | undefined
  /** What decrypts those of the recipient, as `AGE-SECRET-KEY-1…`; or a file that has it. */
  identity?: string | undefined
  identityFile?: string | undefined
}

/** What is known of a target's keys without any secret. */
export interface TargetKeys {
  recipient: string
  /** What decrypts it, encrypted with a passphrase. */
  identity?: string | undefined
}

/**
 * The keys of a new target: the recipient's; or a new pair, of which the secret one is kept under the passphrase, so that
 * scrypt is computed once for a target and not for each file.
 */
export async function newTargetKeys({ passphrase, recipient }: BackupKeys): Promise<TargetKeys> {
  if (recipient !== undefined) return { recipient }
  const identity = await generateX25519Identity()
  return {
    recipient: await identityToRecipient(identity),
    identity: await sealIdentity(identity, passphrase ?? ''),
  }
}

/** What decrypts the files of the target called `name`. @throws WrongKey */
export async function unlock(name: string, target: TargetKeys, keys: BackupKeys): Promise<string> {
  const identity =
    target.identity === undefined
      ? (keys.identity ?? (await openFile(name, target.recipient, keys)))
      : await openSealed(name, target.identity, keys)
  // Somebody who could write there might have put his own recipient into the place of ours.
  if ((await recipientOf(identity)) === target.recipient) return identity
  throw new BackupError(
    'WrongKey',
    `${name} is encrypted for ${target.recipient}, and the key at hand is of another`,
  )
}

async function openFile(name: string, recipient: string, { identityFile }: BackupKeys): Promise<string> {
  if (identityFile !== undefined) return readIdentityFile(identityFile)
  throw new BackupError(
    'WrongKey',
    `${name} is encrypted for ${recipient}: its identity is needed to read it (--identity, or STORAGE_BACKUP_IDENTITY)`,
  )
}

async function openSealed(name: string, sealed: string, { passphrase }: BackupKeys): Promise<string> {
  if (passphrase === undefined) {
    throw new BackupError('WrongKey', `${name} is encrypted with a passphrase: set STORAGE_BACKUP_PASSPHRASE`)
  }
  try {
    return await openIdentity(sealed, passphrase)
  } catch (cause) {
    throw new BackupError('WrongKey', `The passphrase in STORAGE_BACKUP_PASSPHRASE is not that of ${name}`, {
      cause,
    })
  }
}

async function recipientOf(identity: string): Promise<string | null> {
  try {
    return await identityToRecipient(identity)
  } catch {
    return null // no key at all
  }
}

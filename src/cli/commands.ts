/** The table of commands; the code of each is loaded when it is called. */
import type { Command } from './command.js'

export interface CommandEntry {
  /** The words that call it. */
  readonly name: string
  readonly summary: string
  readonly load: () => Promise<Command>
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'start',
    summary: 'Serve documents over HTTP.',
    load: async () => (await import('./start.js')).start,
  },
  {
    name: 'encryption status',
    summary: 'Say what is encrypted, by the configuration and as the disk shows it.',
    load: async () => (await import('./encryption-status.js')).encryptionStatus,
  },
  {
    name: 'encryption migrate',
    summary: 'Make an encrypted copy of a plaintext database.',
    load: async () => (await import('./encryption-migrate.js')).encryptionMigrate,
  },
  {
    name: 'encryption export',
    summary: 'Make a plaintext copy of an encrypted database.',
    load: async () => (await import('./encryption-export.js')).encryptionExport,
  },
  {
    name: 'encryption key-name',
    summary: 'Print the name of a key file in a key directory.',
    load: async () => (await import('./encryption-key-name.js')).encryptionKeyName,
  },
  {
    name: 'encryption rotate-kek',
    summary: 'Wrap the keys of files under another key.',
    load: async () => (await import('./encryption-rotate-kek.js')).encryptionRotateKek,
  },
  {
    name: 'encryption rotate-dek',
    summary: 'Encrypt a file anew, under another key.',
    load: async () => (await import('./encryption-rotate-dek.js')).encryptionRotateDek,
  },
  {
    name: 'encryption verify',
    summary: 'Authenticate every page of a file, or of all files of a directory.',
    load: async () => (await import('./encryption-verify.js')).encryptionVerify,
  },
  {
    name: 'token create',
    summary: 'Make an API token for some tenants.',
    load: async () => (await import('./token-create.js')).tokenCreate,
  },
  {
    name: 'token list',
    summary: 'List the API tokens.',
    load: async () => (await import('./token-list.js')).tokenList,
  },
  {
    name: 'token revoke',
    summary: 'Refuse an API token from now on.',
    load: async () => (await import('./token-revoke.js')).tokenRevoke,
  },
  {
    name: 'token rotate',
    summary: 'Replace the admin token.',
    load: async () => (await import('./token-rotate.js')).tokenRotate,
  },
]

/** The files that manifests lie beside: one of each family that has a form of its own. */
import type { Profile } from '../../src/keys/profile.js'
import type { FileSubject } from '../../src/keys/subject.js'

export const DEMO: FileSubject = { family: 'sqlite_tenant', tenant: 'demo' }

/** A file of one family: what it is called, how it is encrypted, and bytes that stand for it. */
export interface Form {
  readonly subject: FileSubject
  readonly profile: Profile
  readonly fileName: string
  /** How somebody migrates a plaintext one. */
  readonly migrate: string
  /** How a plaintext one begins. */
  readonly plaintext: Buffer
  /** Removed together with it. */
  readonly sideFiles: readonly string[]
  dataOf(fileId: Uint8Array): Buffer
}

export const SQLITE: Form = {
  subject: DEMO,
  profile: 'sqlcipher-4-sha256',
  fileName: 'demo.sqlite3',
  migrate: '--provider sqlite --tenant-id demo',
  plaintext: Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(4080)]),
  sideFiles: ['-wal', '-shm', '-journal'],
  dataOf: (fileId) => Buffer.concat([fileId, Buffer.alloc(4080, 0xa5)]),
}

const SEALED: Omit<Form, 'subject' | 'fileName' | 'migrate'> = {
  profile: 'sealed-redb-1',
  plaintext: Buffer.concat([Buffer.from('redb\x1a\n\xa9\r\n', 'latin1'), Buffer.alloc(4087)]),
  sideFiles: ['.creating', '.rotating'],
  dataOf: (fileId) => {
    const copy = Buffer.concat([Buffer.from('NMBSRDB2'), Buffer.alloc(24, 2), fileId, Buffer.alloc(4048, 0xa5)])
    return Buffer.concat([copy, copy, Buffer.alloc(4096, 0xa5)])
  },
}

export const REDB: Form = {
  ...SEALED,
  subject: { family: 'redb_tenant', tenant: 'demo' },
  fileName: 'demo.redb',
  migrate: '--provider redb --tenant-id demo',
}

export const CONTROL_PLANE: Form = {
  ...SEALED,
  subject: { family: 'control_plane' },
  fileName: 'nimbus-control.db',
  migrate: '--provider redb',
}

export const FORMS: readonly Form[] = [SQLITE, REDB, CONTROL_PLANE]

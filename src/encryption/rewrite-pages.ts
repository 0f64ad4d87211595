/** How all pages of a file come under another DEK, by what kind of database it is. */
import { NimbusError } from '../errors.js'
import { type Cipher, cipherOfProfile } from '../keys/profile.js'
import type { Disk } from '../manifest/file.js'
import type { RotatingManifest, Slot } from '../manifest/manifest.js'
import { type Dek, type WorkOptions, randomBytes } from '../native.js'
import { type RekeyEngine, underSeal, underSqlcipher } from './rekey-engine.js'
import type { Protected } from './unlock.js'

export interface Rotating {
  /** The data file. */
  readonly path: string
  readonly manifest: RotatingManifest
  /** Of `manifest.current`. */
  readonly dek: Dek
}

export interface Rewriting {
  /** Before anything is written: a file with a bad page would stop the rotation in the middle. */
  readonly requireWhole: (file: Protected, engine: RekeyEngine, work: WorkOptions) => Promise<void>
  /** All pages under `nextDek`. What became of the file is read from the file, whatever this says. */
  readonly rewrite: (
    rotating: Rotating,
    nextDek: Dek,
    disk: Disk,
    engine: RekeyEngine,
    work: WorkOptions,
  ) => Promise<void>
  /** The file is not what it was before until the copy takes its place: the copy may be a second name of it. */
  readonly replacesFile: boolean
  /** Whether the engine is believed that all pages are under the new key once the first is. */
  readonly isBelieved: boolean
  /** What the file bears under the next key. */
  readonly nextFileId: (current: Slot) => Uint8Array
}

const IN_PLACE: Rewriting = {
  replacesFile: false,
  isBelieved: false,
  // SQLCipher's salt, which stays.
  nextFileId: ({ fileId }) => fileId,
  async requireWhole({ path, manifest, dek }, engine, work) {
    const file = underSqlcipher({ path, manifest, slot: manifest.current, dek })
    await engine.foldLog(file)
    if (await engine.keyOpens(file, dek, { everyPage: true, ...work })) return
    throw new NimbusError('file_corrupt', `${path} does not open under the key that its manifest holds`, { path })
  },
  rewrite({ path, manifest, dek }, nextDek, _disk, engine, work) {
    return engine.rekey(underSqlcipher({ path, manifest, slot: manifest.current, dek }), nextDek, work)
  },
}

/** redb has read the new file before it takes the name, so it is whole when it has it. */
const BESIDE: Rewriting = {
  replacesFile: true,
  isBelieved: true,
  nextFileId: () => randomBytes(16),
  // Sealing anew reads every page before the rename.
  requireWhole: () => Promise.resolve(),
  async rewrite({ path, manifest, dek }, nextDek, disk, engine, work) {
    const current = underSeal({ path, manifest, slot: manifest.current, dek })
    const next = underSeal({ path: resealedPathOf(path), manifest, slot: manifest.next, dek: nextDek })
    await engine.reseal(current, next, work)
    work.signal?.throwIfAborted()
    disk.publishFile(next.path, path)
  },
}

const REWRITING_OF_CIPHER = { sqlcipher: IN_PLACE, 'aes-256-gcm-siv': BESIDE } as const satisfies Record<
  Cipher,
  Rewriting
>

export function rewritingOf({ profile }: { readonly profile: Protected['profile'] }): Rewriting {
  return REWRITING_OF_CIPHER[cipherOfProfile(profile)]
}

/** Where a redb file is made anew. */
export function resealedPathOf(path: string): string {
  return `${path}.rotating`
}

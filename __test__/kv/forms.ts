/** The two forms of a file, and how tests open one. */
import { Dek, KvStore, randomBytes, type KvEncryption, type KvOptions } from '../../src/native.js'

export interface Form {
  readonly name: string
  readonly encryption: KvEncryption | undefined
}

export const sealing = (): KvEncryption => ({ dek: Dek.generate(), fileId: randomBytes(16), generation: 1n })

export const FORMS: Form[] = [
  { name: 'plain', encryption: undefined },
  { name: 'sealed', encryption: sealing() },
]

export const open = (path: string, mode: KvOptions['mode'], { encryption }: Form): KvStore =>
  KvStore.open({ path, mode, encryption })

/** Text and numbers as keys and values. */
export const bytes = (text: string | number): Uint8Array => new Uint8Array(Buffer.from(String(text)))
export const text = (found: Uint8Array | undefined): string | undefined =>
  found === undefined ? undefined : Buffer.from(found).toString()

/** Megabytes are compared here: the matchers of the test runner look at them byte by byte. */
export const same = (found: Uint8Array | undefined, expected: Uint8Array): boolean =>
  found !== undefined && Buffer.compare(found, expected) === 0

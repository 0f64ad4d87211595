/** The provider `master-key-file`: one file of 32 raw bytes, from which each manifest's wrapping key is derived. */
import { resolve } from 'node:path'
import { NimbusError } from '../errors.js'
import { Dek, type MasterKey, type WrappingKey, readMasterKeyFile } from '../native.js'
import { type DekBinding, wrapHeader } from './binding.js'
import { refuseKeyInside } from './location.js'
import type { KeyProvider, NewDek, ProviderDescriptor, UnwrapResult, WrappedDek } from './provider.js'
import { describe } from './subject.js'

const KIND = 'master_key_file'
/** Commitment 32, nonce 12, ciphertext 32, tag 16. */
const WRAPPED_BYTES = 92

/**
 * Reads the key, straight into native memory: JavaScript never holds its bytes.
 *
 * @throws `key_missing`, `key_malformed`, each with what is wrong in `detail.reason`; `config_invalid` for a key inside a data directory.
 */
export async function openMasterKeyFile(path: string, dataDirs: readonly string[]): Promise<KeyProvider> {
  await refuseKeyInside(path, dataDirs)
  const { key, mode } = readKey(path)
  return new MasterKeyFile(path, key, permissionWarnings(path, mode))
}

class MasterKeyFile implements KeyProvider {
  readonly kind = KIND
  readonly warnings: readonly string[]
  readonly #path: string
  readonly #key: MasterKey
  readonly #keyId: string

  constructor(path: string, key: MasterKey, warnings: readonly string[]) {
    this.#path = path
    this.#key = key
    this.#keyId = key.keyId
    this.warnings = warnings
  }

  describe(): ProviderDescriptor {
    return { provider: KIND, path: this.#path }
  }

  async newDek(binding: DekBinding): Promise<NewDek> {
    const dek = Dek.generate()
    try {
      return { dek, ...(await this.wrap(binding, dek)) }
    } catch (error) {
      dek.close()
      throw error
    }
  }

  async wrap(binding: DekBinding, dek: Dek): Promise<WrappedDek> {
    const header = wrapHeader(binding, KIND, this.#keyId, dek.commitment(binding.salt))
    const wrapped = this.#with(binding, (wrappingKey) => wrappingKey.wrap(dek, header))
    return { keyId: this.#keyId, hint: printable(resolve(this.#path)), wrapped }
  }

  async unwrap(binding: DekBinding, { keyId, wrapped }: WrappedDek, commitment: Uint8Array): Promise<UnwrapResult> {
    if (wrapped.length !== WRAPPED_BYTES) return { outcome: 'altered' }
    const header = wrapHeader(binding, KIND, keyId, commitment)
    const result = this.#with(binding, (wrappingKey) => wrappingKey.unwrap(wrapped, header))
    if (result.outcome !== 'other_key') return result
    // The derived key differs, yet the manifest names our master key: then it was the salt or the wrapped key that changed.
    return keyId === this.#keyId ? { outcome: 'altered' } : { outcome: 'other_key', ours: this.#keyId }
  }

  close(): void {
    this.#key.close()
  }

  #with<T>(binding: DekBinding, use: (wrappingKey: WrappingKey) => T): T {
    const wrappingKey = this.#key.wrappingKey(binding.salt, describe(binding.subject))
    try {
      return use(wrappingKey)
    } finally {
      wrappingKey.close()
    }
  }
}

/** What is wrong with a key file and what to do, by the `reason` that the addon found. */
const DEFECTS: Readonly<Record<string, (path: string, bytes: string) => readonly [what: string, remedy: string]>> = {
  missing: (path) => [
    'does not exist',
    `Put the key there; if nothing is encrypted yet, make one: openssl rand -out ${path} 32`,
  ],
  unreadable: () => ['cannot be read', 'Let the user that runs nimbus read it: chown it to that user, then chmod 400.'],
  directory: () => ['is a directory', 'Name the key file itself; one file per subject is the provider key-dir.'],
  not_a_file: () => ['is not a regular file', 'Name a regular file with 32 raw bytes.'],
  short: (_path, bytes) => [`has ${bytes} bytes instead of 32`, 'Restore the whole key file from its backup.'],
  long: (_path, bytes) => [
    `has ${bytes} bytes instead of 32`,
    'Name the file with the raw key: 32 bytes, nothing else.',
  ],
  looks_like_hex: (path) => [
    'holds hex digits instead of 32 raw bytes',
    `Convert it: xxd -r -p ${path} > ${path}.raw, and configure that file.`,
  ],
  looks_like_base64: (path) => [
    'holds base64 text instead of 32 raw bytes',
    `Convert it: base64 -d ${path} > ${path}.raw, and configure that file.`,
  ],
  zero: (path) => [
    'holds zero bytes only',
    `Restore the key; if nothing is encrypted yet, make one: openssl rand -out ${path} 32`,
  ],
}

function readKey(path: string): { key: MasterKey; mode: number } {
  try {
    return readMasterKeyFile(path)
  } catch (error) {
    if (!(error instanceof NimbusError)) throw error
    const defect = DEFECTS[String(error.detail['reason'])]
    if (defect === undefined) throw error
    const [what, remediation] = defect(path, String(error.detail['bytes'] ?? 'too few or too many'))
    throw new NimbusError(error.code, `master key file ${path} ${what}`, {
      path,
      remediation,
      detail: error.detail,
      cause: error,
    })
  }
}

function permissionWarnings(path: string, mode: number): string[] {
  if ((mode & 0o077) === 0) return []
  const access = (mode & 0o044) === 0 ? 'open to' : 'readable by'
  const octal = mode.toString(8).padStart(4, '0')
  return [`master key file ${path} is ${access} group or others (mode ${octal}): chmod 400 ${path}`]
}

/** A path may hold anything; a hint is for people to read. */
function printable(path: string): string {
  return path.slice(0, 4096).replace(/[\p{Cc}\p{Cs}]/gu, '\ufffd')
}

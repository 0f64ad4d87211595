/** What most tests of this folder begin with: a key, a provider, a place, and a file in it. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { type Protected, createProtected, markActive } from '../../src/encryption/protect.js'
import type { Profile } from '../../src/keys/profile.js'
import { openMasterKeyFile } from '../../src/keys/master-key-file.js'
import type { KeyProvider } from '../../src/keys/provider.js'
import type { FileSubject } from '../../src/keys/subject.js'
import { encodeBody, encodeManifest } from '../../src/manifest/encode.js'
import type { Manifest, SettledManifest } from '../../src/manifest/manifest.js'
import type { Dek } from '../../src/native.js'
import { temporaryDirectory, writeIn } from '../support/directory.js'
import { type Form, SQLITE } from './forms.js'

export { CONTROL_PLANE, DEMO, FORMS, REDB, SQLITE } from './forms.js'

export interface Place {
  readonly form: Form
  readonly directory: string
  readonly dataDir: string
  readonly keyFile: string
  readonly provider: KeyProvider
  /** `<dataDir>/<fileName>`. */
  readonly file: string
}

export async function place(form: Form = SQLITE): Promise<Place> {
  const directory = temporaryDirectory()
  const dataDir = path.join(directory, 'data')
  mkdirSync(dataDir, { mode: 0o700 })
  const keyFile = writeIn(directory, 'master.key', randomBytes(32), 0o400)
  const provider = await providerOf(keyFile, dataDir)
  return { form, directory, dataDir, keyFile, provider, file: path.join(dataDir, form.fileName) }
}

/** A second master key beside the first. */
export async function otherProvider({ directory, dataDir }: Place): Promise<KeyProvider> {
  return providerOf(writeIn(directory, `${randomBytes(8).toString('hex')}.key`, randomBytes(32), 0o400), dataDir)
}

async function providerOf(keyFile: string, dataDir: string): Promise<KeyProvider> {
  const provider = await openMasterKeyFile(keyFile, [dataDir])
  onTestFinished(() => provider.close())
  return provider
}

/** A file that was made and acknowledged. */
export async function madeFile({
  provider,
  file,
  form,
}: Pick<Place, 'provider' | 'file' | 'form'>): Promise<Protected> {
  const creating = await createProtected(file, form.subject, provider, form.profile)
  writeFileSync(file, form.dataOf(creating.fileId), { mode: 0o600 })
  return markActive(creating)
}

export interface Forged {
  readonly manifest: Manifest
  readonly bytes: Buffer
  readonly dek: Dek
}

interface Wanted {
  /** What the subject and the profile are taken from unless they are given. */
  readonly form?: Form
  readonly subject?: FileSubject
  readonly profile?: Profile
  readonly generation?: bigint
  readonly fileId?: Uint8Array
  readonly createdAt?: string
  /** Adds a `next` slot of this generation. */
  readonly nextGeneration?: bigint
  readonly nextFileId?: Uint8Array
}

/** A manifest that is genuine in every way, made as this version does not make them. */
export async function genuine(provider: KeyProvider, wanted: Wanted = {}): Promise<Forged> {
  const { form = SQLITE, generation = 1n, fileId = randomBytes(16) } = wanted
  const { subject = form.subject, profile = form.profile } = wanted
  const slotOf = async (number: bigint, fileId: Uint8Array) => {
    const salt = randomBytes(32)
    const made = await provider.newDek({ subject, profile, generation: number, fileId, salt })
    const { dek, keyId, hint, wrapped } = made
    const commitment = dek.commitment(salt)
    return {
      dek,
      slot: { generation: number, fileId, provider: provider.kind, hint, keyId, salt, commitment, wrapped },
    }
  }
  const { dek, slot: current } = await slotOf(generation, fileId)
  const createdAt = wanted.createdAt ?? new Date().toISOString()
  const settled: SettledManifest = {
    subject,
    profile,
    createdAt,
    rotatedAt: null,
    current,
    state: 'active',
    next: null,
  }
  const manifest: Manifest =
    wanted.nextGeneration === undefined
      ? settled
      : { ...settled, state: 'rotating', next: (await slotOf(wanted.nextGeneration, wanted.nextFileId ?? fileId)).slot }
  return { manifest, bytes: sealedBy(dek, manifest), dek }
}

export function sealedBy(dek: Dek, manifest: Manifest): Buffer {
  const body = encodeBody(manifest)
  return Buffer.from(encodeManifest(body, dek.mac(manifest.current.fileId, body)))
}

export function namesIn(directory: string): string[] {
  return readdirSync(directory).sort()
}

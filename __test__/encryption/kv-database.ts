/** A real sealed redb database beside its manifest, and what is in it. */
import { expect } from 'vitest'
import { checkProtected } from '../../src/encryption/check.js'
import { createProtected, markActive } from '../../src/encryption/protect.js'
import type { RotationEnd } from '../../src/encryption/settle-rotation.js'
import type { Protected } from '../../src/encryption/unlock.js'
import { KvStore } from '../../src/native.js'
import type { Place } from './setup.js'

const TABLE = 'rows'
const keyOf = (row: number): Buffer => Buffer.from(String(row).padStart(8, '0'))
const valueOf = (row: number): Buffer => Buffer.alloc(2_000, row % 251)

function opening({ path, dek, fileId, manifest }: Protected, mode: 'create' | 'open'): KvStore {
  return KvStore.open({ path, mode, encryption: { dek, fileId, generation: manifest.current.generation } })
}

/** Makes `where.file` with so many rows, some of which were there before with other values: there are free pages. */
export async function madeKv({ file, provider, form }: Place, rows = 300): Promise<void> {
  const made = await createProtected(file, form.subject, provider, form.profile)
  const store = opening(made, 'create')
  const numbers = Array.from({ length: rows }, (_, row) => row)
  await store.write(numbers.map((row) => ({ table: TABLE, key: keyOf(row), value: Buffer.alloc(3_000, 1) })))
  await store.write(numbers.map((row) => ({ table: TABLE, key: keyOf(row), value: valueOf(row) })))
  await store.close()
  const active = await markActive(made)
  active.dek.close()
}

export interface OpenedKv {
  /** How a pending rotation ended. */
  readonly end: RotationEnd | undefined
  readonly generation: bigint
}

/** Starts as a server does, and reads everything: what it finds must be what `madeKv` made. */
export async function openedKv({ file, provider, form }: Place, rows = 300): Promise<OpenedKv> {
  let end: RotationEnd | undefined
  const found = await checkProtected(file, form.subject, provider, { onRotation: (_, how) => (end = how) })
  if (found === undefined) return expect.fail('the file is gone')
  expect(found.manifest.state).toBe('active')
  const store = opening(found, 'open')
  try {
    for (let row = 0; row < rows; row++) {
      expect(valueOf(row).equals(store.get(TABLE, keyOf(row)) ?? Buffer.alloc(0)), `row ${row}`).toBe(true)
    }
    expect(await store.check()).toMatchObject({ sound: true })
  } finally {
    await store.close()
    found.dek.close()
  }
  return { end, generation: found.manifest.current.generation }
}

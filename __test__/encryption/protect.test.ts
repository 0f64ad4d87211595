import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  createProtected,
  markActive,
  markDeleting,
  openProtected,
  removeProtected,
} from '../../src/encryption/protect.js'
import { NimbusError } from '../../src/errors.js'
import { nativeDisk } from '../../src/manifest/file.js'
import { parseManifest } from '../../src/manifest/parse.js'
import { rejectionOf } from '../support/failure.js'
import { CONTROL_PLANE, DEMO, FORMS, REDB, SQLITE, genuine, madeFile, namesIn, otherProvider, place } from './setup.js'

const MESSAGE = Buffer.from('a message')

describe('a protected file', () => {
  it('is announced before it exists: a manifest in state `creating`, of mode 0600, and nothing else', async () => {
    const { dataDir, file, provider } = await place()
    const creating = await createProtected(file, DEMO, provider, 'sqlcipher-4')
    expect(namesIn(dataDir)).toEqual(['demo.sqlite3.nimbus-enc'])
    expect(statSync(`${file}.nimbus-enc`).mode & 0o777).toBe(0o600)
    const { manifest } = parseManifest(readFileSync(`${file}.nimbus-enc`), 'x')
    expect(manifest).toMatchObject({ state: 'creating', profile: 'sqlcipher-4', subject: DEMO, next: null })
    expect(manifest.current).toMatchObject({ generation: 1n, provider: 'master_key_file' })
    expect(Buffer.compare(manifest.current.fileId, creating.fileId)).toBe(0)
  })

  it('opens with the DEK that it was made with', async () => {
    const where = await place()
    const made = await madeFile(where)
    const opened = await openProtected(where.file, DEMO, where.provider)
    expect(opened).toMatchObject({ path: where.file, profile: 'sqlcipher-4-sha256' })
    expect(Buffer.compare(opened.fileId, made.fileId)).toBe(0)
    expect(opened.dek.verifyMac(made.fileId, MESSAGE, made.dek.mac(made.fileId, MESSAGE))).toBe(true)
  })

  it('has a DEK, a file id and a salt of its own', async () => {
    const where = await place()
    const one = await createProtected(`${where.file}1`, DEMO, where.provider, 'sqlcipher-4')
    const other = await createProtected(`${where.file}2`, DEMO, where.provider, 'sqlcipher-4')
    expect(Buffer.compare(one.fileId, other.fileId)).not.toBe(0)
    expect(Buffer.compare(one.manifest.current.salt, other.manifest.current.salt)).not.toBe(0)
    const salt = Buffer.alloc(32)
    expect(Buffer.compare(one.dek.commitment(salt), other.dek.commitment(salt))).not.toBe(0)
  })

  it('opens after its key file was moved: the hint is only a hint', async () => {
    const where = await place()
    await madeFile(where)
    const { manifest } = parseManifest(readFileSync(`${where.file}.nimbus-enc`), 'x')
    expect(manifest.current.hint).toBe(where.keyFile)
    const moved = `${where.directory}/elsewhere.key`
    writeFileSync(moved, readFileSync(where.keyFile), { mode: 0o400 })
    const { openMasterKeyFile } = await import('../../src/keys/master-key-file.js')
    await expect(openProtected(where.file, DEMO, await openMasterKeyFile(moved, []))).resolves.toBeDefined()
  })

  it.each(FORMS)('opens under the name $fileName, and for no other family', async (form) => {
    const where = await place(form)
    await madeFile(where)
    const opened = await openProtected(where.file, form.subject, where.provider)
    expect(opened).toMatchObject({ profile: form.profile, manifest: { subject: form.subject, state: 'active' } })
    for (const other of FORMS.filter((one) => one !== form)) {
      const error = await rejectionOf(openProtected(where.file, other.subject, where.provider))
      expect(error).toMatchObject({ code: 'manifest_mismatch' })
    }
  })

  it('is not opened without its manifest', async () => {
    const { file, provider } = await place()
    writeFileSync(file, 'anything')
    const error = await rejectionOf(openProtected(file, DEMO, provider))
    expect(error).toMatchObject({ code: 'manifest_missing', message: `sidecar manifest is missing: ${file}` })
  })

  it('is not opened while it is being created or deleted', async () => {
    const { file, provider } = await place()
    const creating = await createProtected(file, DEMO, provider, 'sqlcipher-4')
    expect(await rejectionOf(openProtected(file, DEMO, provider))).toMatchObject({ code: 'data_missing' })
    await markDeleting(await markActive(creating))
    expect(await rejectionOf(openProtected(file, DEMO, provider))).toMatchObject({ code: 'data_missing' })
  })

  it('is not opened while a rotation is pending: nobody guesses which key is the right one', async () => {
    const { file, provider } = await place()
    const { bytes } = await genuine(provider, { nextGeneration: 2n })
    writeFileSync(`${file}.nimbus-enc`, bytes)
    const error = await rejectionOf(openProtected(file, DEMO, provider))
    expect(error.code).toBe('file_busy')
    expect(error.message).toContain(`a key rotation is pending for ${file}`)
    expect(error.remediation).toContain('settles the file first')
    expect(readFileSync(`${file}.nimbus-enc`)).toEqual(bytes)
  })
})

describe('a creation', () => {
  it.each(['', '-wal', '-shm', '-journal', '.nimbus-enc'])(
    'is refused while <file>%s exists, and leaves it as it is',
    async (suffix) => {
      const { dataDir, file, provider } = await place()
      writeFileSync(file + suffix, 'mine')
      const error = await rejectionOf(createProtected(file, DEMO, provider, 'sqlcipher-4'))
      expect(error).toMatchObject({ code: 'target_exists', path: file + suffix })
      expect(namesIn(dataDir)).toEqual([`demo.sqlite3${suffix}`])
      expect(readFileSync(file + suffix, 'utf8')).toBe('mine')
    },
  )

  it('that finds no key leaves nothing behind', async () => {
    const { dataDir, file, provider } = await place()
    const failure = new NimbusError('kms_unavailable', 'no network')
    const broken = { ...methodsOf(provider), newDek: () => Promise.reject(failure) }
    await expect(createProtected(file, DEMO, broken, 'sqlcipher-4')).rejects.toBe(failure)
    expect(namesIn(dataDir)).toEqual([])
  })

  it('that cannot write leaves nothing behind and closes its DEK', async () => {
    const { dataDir, file, provider } = await place()
    const made: { close(): void; commitment(salt: Uint8Array): Uint8Array }[] = []
    const watched = {
      ...methodsOf(provider),
      newDek: async (binding: Parameters<typeof provider.newDek>[0]) => {
        const result = await provider.newDek(binding)
        made.push(result.dek)
        return result
      },
    }
    const full = {
      ...nativeDisk,
      createFileExclusive: () => {
        throw new NimbusError('disk_full', 'full')
      },
    }
    const error = await rejectionOf(createProtected(file, DEMO, watched, 'sqlcipher-4', full))
    expect(error.code).toBe('disk_full')
    expect(namesIn(dataDir)).toEqual([])
    expect(() => made[0]?.commitment(Buffer.alloc(32))).toThrow(/closed/)
  })

  it('in a directory that does not exist fails with the name of the file', async () => {
    const { dataDir, provider } = await place()
    const error = await rejectionOf(createProtected(`${dataDir}/no/demo.sqlite3`, DEMO, provider, 'sqlcipher-4'))
    expect(error.code).toBe('io_error')
    expect(error.message).toContain(`${dataDir}/no`)
  })

  it.each(FORMS)('of $fileName refuses every profile of another cipher, and writes nothing', async (form) => {
    const { dataDir, file, provider } = await place(form)
    const others = FORMS.filter(({ profile }) => profile !== form.profile).map(({ profile }) => profile)
    expect(others.length).toBeGreaterThan(0)
    for (const profile of others) {
      await expect(createProtected(file, form.subject, provider, profile)).rejects.toThrow(TypeError)
    }
    expect(namesIn(dataDir)).toEqual([])
  })

  it.each([REDB, CONTROL_PLANE])('of $fileName takes no notice of one that was never published', async (form) => {
    const where = await place(form)
    writeFileSync(`${where.file}.creating`, 'left by a crash')
    const creating = await createProtected(where.file, form.subject, where.provider, form.profile)
    expect(creating).toMatchObject({ profile: 'sealed-redb-1', path: where.file })
    await removeProtected(creating)
    expect(namesIn(where.dataDir)).toEqual([])
  })

  it('given up after its last step failed never leaves an active manifest without data', async () => {
    const where = await place()
    const creating = await createProtected(where.file, DEMO, where.provider, 'sqlcipher-4')
    writeFileSync(where.file, SQLITE.dataOf(creating.fileId))
    const lastSyncFails = {
      ...nativeDisk,
      replaceFile: (path: string, bytes: Uint8Array) => {
        nativeDisk.replaceFile(path, bytes)
        throw new NimbusError('io_error', 'could not sync the directory')
      },
    }
    expect(await rejectionOf(markActive(creating, lastSyncFails))).toMatchObject({ code: 'io_error' })
    const states: string[] = []
    const watched = {
      ...nativeDisk,
      removeFileDurably: (path: string) => {
        states.push(parseManifest(readFileSync(`${where.file}.nimbus-enc`), 'x').manifest.state)
        return nativeDisk.removeFileDurably(path)
      },
    }
    await removeProtected(creating, watched)
    expect(new Set(states)).toEqual(new Set(['deleting']))
    expect(namesIn(where.dataDir)).toEqual([])
  })

  it('given up on a full disk needs no space', async () => {
    const where = await place()
    const creating = await createProtected(where.file, DEMO, where.provider, 'sqlcipher-4')
    writeFileSync(where.file, 'as much as there was room for')
    const full = {
      ...nativeDisk,
      replaceFile: () => {
        throw new NimbusError('disk_full', 'full')
      },
    }
    expect(await rejectionOf(markActive(creating, full))).toMatchObject({ code: 'disk_full' })
    await removeProtected(creating, full)
    expect(namesIn(where.dataDir)).toEqual([])
  })

  it('can be given up, and then begun again', async () => {
    const where = await place()
    const first = await createProtected(where.file, DEMO, where.provider, 'sqlcipher-4')
    writeFileSync(where.file, 'half a database')
    await removeProtected(first)
    expect(namesIn(where.dataDir)).toEqual([])
    await madeFile(where)
    await expect(openProtected(where.file, DEMO, where.provider)).resolves.toBeDefined()
  })
})

describe('a deletion', () => {
  it.each(FORMS)('of $fileName removes the data, its side files and the manifest, and nothing else', async (form) => {
    const where = await place(form)
    const made = await madeFile(where)
    for (const suffix of [...form.sideFiles, '.nimbus-enc.tmp', '.bak', '.nimbus-lock']) {
      writeFileSync(where.file + suffix, 'x')
    }
    writeFileSync(`${where.file}3`, 'somebody else')
    await removeProtected(await markDeleting(made))
    expect(namesIn(where.dataDir)).toEqual(
      [`${form.fileName}.bak`, `${form.fileName}.nimbus-lock`, `${form.fileName}3`].sort(),
    )
  })

  it('is refused for a file that is active: it must be announced first', async () => {
    const where = await place()
    const made = await madeFile(where)
    await expect(removeProtected(made)).rejects.toThrow(TypeError)
    await expect(openProtected(where.file, DEMO, where.provider)).resolves.toBeDefined()
  })

  it('can be repeated after an error, and closes the DEK at the end', async () => {
    const where = await place()
    const deleting = await markDeleting(await madeFile(where))
    let calls = 0
    const failing = {
      ...nativeDisk,
      removeFileDurably: (path: string) => {
        calls += 1
        if (calls === 3) throw new NimbusError('io_error', 'bad block')
        return nativeDisk.removeFileDurably(path)
      },
    }
    expect(await rejectionOf(removeProtected(deleting, failing))).toMatchObject({ code: 'io_error' })
    await removeProtected(deleting)
    expect(namesIn(where.dataDir)).toEqual([])
    expect(() => deleting.dek.commitment(Buffer.alloc(32))).toThrow(/closed/)
  })
})

describe('a change of state', () => {
  it('that comes out of order is refused before anything is written', async () => {
    const where = await place()
    const creating = await createProtected(where.file, DEMO, where.provider, 'sqlcipher-4')
    const active = await markActive(creating)
    const bytes = readFileSync(`${where.file}.nimbus-enc`)
    await expect(markActive(active)).rejects.toThrow(TypeError)
    expect(readFileSync(`${where.file}.nimbus-enc`)).toEqual(bytes)
    const deleting = await markDeleting(active)
    await expect(markActive(deleting)).rejects.toThrow(TypeError)
    await expect(markDeleting(deleting)).rejects.toThrow(TypeError)
  })

  it('keeps the wrapped key and the time of creation', async () => {
    const where = await place()
    const creating = await createProtected(where.file, DEMO, where.provider, 'sqlcipher-4')
    const active = await markActive(creating)
    expect(active.manifest).toEqual({ ...creating.manifest, state: 'active' })
    const stored = parseManifest(readFileSync(`${where.file}.nimbus-enc`), 'x')
    expect(stored.manifest.current.wrapped).toEqual(Buffer.from(creating.manifest.current.wrapped))
  })
})

describe('the wrong key', () => {
  it('is told by both key ids and by where the right one was', async () => {
    const where = await place()
    await madeFile(where)
    const other = await otherProvider(where)
    const before = readFileSync(`${where.file}.nimbus-enc`)
    const error = await rejectionOf(openProtected(where.file, DEMO, other))
    expect(error).toMatchObject({ code: 'key_wrong', path: `${where.file}.nimbus-enc` })
    expect(error.message).toContain(`${where.file}.nimbus-enc`)
    expect(error.message).toContain(String(error.detail['key_id']))
    expect(error.message).toContain(String(error.detail['configured_key_id']))
    expect(error.remediation).toContain(where.keyFile)
    expect(readFileSync(`${where.file}.nimbus-enc`)).toEqual(before)
  })

  it('of another kind of provider is told as such', async () => {
    const where = await place()
    await madeFile(where)
    const kms = {
      ...methodsOf(where.provider),
      kind: 'aws_kms',
      describe: () => ({ provider: 'aws_kms', key_id: 'alias/demo', region: null }) as const,
    }
    const error = await rejectionOf(openProtected(where.file, DEMO, kms))
    expect(error.code).toBe('key_wrong')
    expect(error.message).toContain('provider master_key_file')
    expect(error.message).toContain('aws_kms alias/demo')
  })
})

function methodsOf(provider: Awaited<ReturnType<typeof place>>['provider']) {
  const { kind, warnings } = provider
  return {
    kind,
    warnings,
    describe: () => provider.describe(),
    newDek: provider.newDek.bind(provider),
    wrap: provider.wrap.bind(provider),
    unwrap: provider.unwrap.bind(provider),
    close: () => provider.close(),
  }
}

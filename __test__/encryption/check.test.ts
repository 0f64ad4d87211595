import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { checkPlain, checkProtected } from '../../src/encryption/check.js'
import { createProtected, markDeleting } from '../../src/encryption/protect.js'
import { rejectionOf } from '../support/failure.js'
import {
  CONTROL_PLANE,
  FORMS,
  type Place,
  REDB,
  SQLITE,
  genuine,
  madeFile,
  namesIn,
  otherProvider,
  place,
  sealedBy,
} from './setup.js'

/** Everything in the data directory, by name. */
function contentOf(dataDir: string): Map<string, Buffer> {
  return new Map(namesIn(dataDir).map((name) => [name, readFileSync(`${dataDir}/${name}`)]))
}

/** The error of the check, which must have left every file as it was. */
async function refusalOf(where: Place, provider = where.provider) {
  const before = contentOf(where.dataDir)
  const error = await rejectionOf(checkProtected(where.file, where.form.subject, provider))
  expect(contentOf(where.dataDir)).toEqual(before)
  return error
}

describe.each(FORMS)('a start with encryption on, of $fileName', (form) => {
  it('accepts a file that was made, and gives its DEK', async () => {
    const where = await place(form)
    const made = await madeFile(where)
    const before = contentOf(where.dataDir)
    const checked = await checkProtected(where.file, form.subject, where.provider)
    const message = Buffer.from('a message')
    expect(checked?.dek.verifyMac(made.fileId, message, made.dek.mac(made.fileId, message))).toBe(true)
    expect(contentOf(where.dataDir)).toEqual(before)
  })

  it('refuses a plaintext file, and says to migrate it', async () => {
    const where = await place(form)
    writeFileSync(where.file, form.plaintext)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'manifest_missing', path: where.file })
    expect(error.message).toBe(`sidecar manifest is missing: ${where.file}`)
    expect(error.remediation).toContain(`nimbus encryption migrate --source ${where.file} ${form.migrate}`)
  })

  it.each([
    ['ciphertext', Buffer.alloc(4096, 0xa5)],
    ['a few bytes', Buffer.from('abc')],
    ['an empty file', Buffer.alloc(0)],
  ])('refuses %s without a manifest, and says to restore the manifest', async (_name, bytes) => {
    const where = await place(form)
    writeFileSync(where.file, bytes)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'manifest_missing', path: where.file })
    expect(error.message).toBe(`sidecar manifest is missing: ${where.file}`)
    expect(error.remediation).toContain(`restore ${where.file}.nimbus-enc from the backup`)
  })

  it('refuses a manifest without its file: never an empty database', async () => {
    const where = await place(form)
    await madeFile(where)
    rmSync(where.file)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'data_missing', path: where.file })
    expect(error.remediation).toContain('backup')
  })

  it('refuses neither file nor manifest as a missing file', async () => {
    expect(await refusalOf(await place(form))).toMatchObject({ code: 'data_missing' })
  })

  it.each([0, 1, 15])('refuses a file that was cut off after %i bytes', async (length) => {
    const where = await place(form)
    await madeFile(where)
    truncateSync(where.file, length)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
    expect(error.message).toContain(length === 0 ? 'it is empty' : `it was cut off after ${length} bytes`)
  })

  it('refuses a file that does not bear the id of its manifest, in any byte', async () => {
    const where = await place(form)
    const { fileId } = await madeFile(where)
    for (let at = 0; at < 16; at++) {
      const other = Buffer.from(fileId)
      other[at] = (other[at] ?? 0) ^ 1
      writeFileSync(where.file, form.dataOf(other))
      const error = await refusalOf(where)
      expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
      expect(error.message).toContain('file and manifest do not belong together')
    }
  })

  it('refuses a plaintext file under a genuine manifest, and calls it plaintext', async () => {
    const where = await place(form)
    await madeFile(where)
    writeFileSync(where.file, form.plaintext)
    const error = await refusalOf(where)
    expect(error.code).toBe('file_corrupt')
    expect(error.message).toContain('it is plaintext')
  })

  it('refuses wrong key, edited manifest, foreign manifest and altered file with four different codes', async () => {
    const where = await place(form)
    const made = await madeFile(where)
    const manifest = readFileSync(`${where.file}.nimbus-enc`)
    const codes = [(await refusalOf(where, await otherProvider(where))).code]
    writeFileSync(`${where.file}.nimbus-enc`, manifest.toString().replace('"active"', '"creating"'))
    codes.push((await refusalOf(where)).code)
    const foreign = await genuine(where.provider, { subject: { family: 'sqlite_tenant', tenant: 'evil' } })
    writeFileSync(`${where.file}.nimbus-enc`, foreign.bytes)
    codes.push((await refusalOf(where)).code)
    writeFileSync(`${where.file}.nimbus-enc`, manifest)
    writeFileSync(where.file, Buffer.alloc(form.dataOf(made.fileId).length))
    codes.push((await refusalOf(where)).code)
    expect(codes).toEqual(['key_wrong', 'manifest_altered', 'manifest_mismatch', 'file_corrupt'])
  })

  it('refuses a directory and a pipe in the place of the manifest without hanging', async () => {
    const where = await place(form)
    const { execFileSync } = await import('node:child_process')
    execFileSync('mkfifo', [`${where.file}.nimbus-enc`])
    const error = await rejectionOf(checkProtected(where.file, form.subject, where.provider))
    expect(error.code).toBe('io_error')
    expect(error.message).toContain('not a regular file')
  })
})

describe.each(FORMS)('a start that finds an interrupted creation or deletion, of $fileName', (form) => {
  it.each(['', 'half', 'whole'])('removes what a creation left (data: %j)', async (data) => {
    const where = await place(form)
    const creating = await createProtected(where.file, form.subject, where.provider, form.profile)
    if (data !== '') writeFileSync(where.file, data === 'half' ? 'half' : form.dataOf(creating.fileId))
    if (data === 'whole') for (const suffix of form.sideFiles) writeFileSync(where.file + suffix, 'frames')
    expect(await checkProtected(where.file, form.subject, where.provider)).toBeUndefined()
    expect(namesIn(where.dataDir)).toEqual([])
  })

  it('finishes a deletion', async () => {
    const where = await place(form)
    await markDeleting(await madeFile(where))
    for (const suffix of form.sideFiles) writeFileSync(where.file + suffix, 'frames')
    expect(await checkProtected(where.file, form.subject, where.provider)).toBeUndefined()
    expect(namesIn(where.dataDir)).toEqual([])
  })

  it('touches nothing under the wrong key', async () => {
    const where = await place(form)
    await markDeleting(await madeFile(where))
    expect(await refusalOf(where, await otherProvider(where))).toMatchObject({ code: 'key_wrong' })
  })

  it('touches nothing when the state was only written in by somebody', async () => {
    const where = await place(form)
    const made = await madeFile(where)
    for (const state of ['creating', 'deleting']) {
      const edited = readFileSync(`${where.file}.nimbus-enc`, 'utf8').replace(/"state":"[a-z]+"/, `"state":"${state}"`)
      writeFileSync(`${where.file}.nimbus-enc`, edited)
      expect(await refusalOf(where)).toMatchObject({ code: 'manifest_altered' })
    }
    expect(readFileSync(where.file)).toEqual(form.dataOf(made.fileId))
  })

  it('refuses a pending rotation and touches nothing', async () => {
    const where = await place(form)
    const { bytes, manifest } = await genuine(where.provider, { form, nextGeneration: 2n })
    writeFileSync(`${where.file}.nimbus-enc`, bytes)
    writeFileSync(where.file, form.dataOf(manifest.current.fileId))
    const error = await refusalOf(where)
    // The bytes that stand for a database open under neither key, and there is no backup of this rotation.
    expect(error.code).toBe('file_corrupt')
    expect(error.message).toContain('a key rotation is pending')
  })

  it('believes a state that is genuine, also of a manifest that another version wrote', async () => {
    const where = await place(form)
    const { manifest, dek } = await genuine(where.provider, { form })
    if (manifest.next !== null) throw new Error('a settled one was asked for')
    writeFileSync(`${where.file}.nimbus-enc`, sealedBy(dek, { ...manifest, state: 'deleting' }))
    expect(await checkProtected(where.file, form.subject, where.provider)).toBeUndefined()
  })
})

describe.each(FORMS)('a start with encryption off, of $fileName', (form) => {
  it('refuses an encrypted file and names its manifest, and leaves both as they are', async () => {
    const where = await place(form)
    await madeFile(where)
    const before = contentOf(where.dataDir)
    const error = await rejectionOf(checkPlain(where.file, form.subject))
    expect(error).toMatchObject({ code: 'encrypted_but_disabled', path: `${where.file}.nimbus-enc` })
    expect(error.message).toContain(`${where.file}.nimbus-enc`)
    expect(contentOf(where.dataDir)).toEqual(before)
  })

  it('refuses it as well when only the manifest is left, or when the manifest is garbage', async () => {
    const where = await place(form)
    writeFileSync(`${where.file}.nimbus-enc`, 'garbage')
    expect(await rejectionOf(checkPlain(where.file, form.subject))).toMatchObject({ code: 'encrypted_but_disabled' })
  })

  it('refuses ciphertext without a manifest', async () => {
    const where = await place(form)
    writeFileSync(where.file, Buffer.alloc(4096, 0xa5))
    const error = await rejectionOf(checkPlain(where.file, form.subject))
    expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
    expect(error.remediation).toContain(`${where.file}.nimbus-enc`)
  })

  it('accepts plaintext of its own kind', async () => {
    const where = await place(form)
    writeFileSync(where.file, form.plaintext)
    await expect(checkPlain(where.file, form.subject)).resolves.toBeUndefined()
  })

  it('refuses plaintext of the other kind of database', async () => {
    const where = await place(form)
    writeFileSync(where.file, form === SQLITE ? REDB.plaintext : SQLITE.plaintext)
    expect(await rejectionOf(checkPlain(where.file, form.subject))).toMatchObject({ code: 'file_corrupt' })
  })
})

describe('an empty file with encryption off', () => {
  it('is a SQLite database', async () => {
    const where = await place(SQLITE)
    writeFileSync(where.file, '')
    await expect(checkPlain(where.file, SQLITE.subject)).resolves.toBeUndefined()
  })

  it('is no redb database', async () => {
    const where = await place(REDB)
    writeFileSync(where.file, '')
    const error = await rejectionOf(checkPlain(where.file, REDB.subject))
    expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
    expect(error.message).toContain('is not a redb database')
  })
})

describe.each([REDB, CONTROL_PLANE])('the superblock of $fileName', (form) => {
  it('is recognised by either of its copies', async () => {
    const where = await place(form)
    const { fileId } = await madeFile(where)
    for (const damagedAt of [0, 4096]) {
      const bytes = form.dataOf(fileId)
      writeFileSync(
        where.file,
        Buffer.concat([bytes.subarray(0, damagedAt), Buffer.alloc(4096), bytes.subarray(damagedAt + 4096)]),
      )
      expect(await checkProtected(where.file, form.subject, where.provider)).toBeDefined()
    }
    writeFileSync(where.file, Buffer.concat([Buffer.alloc(8192), form.dataOf(fileId).subarray(8192)]))
    expect(await refusalOf(where)).toMatchObject({ code: 'file_corrupt', path: where.file })
  })

  it('is not recognised without its magic, nor by an id that lies where SQLCipher has it', async () => {
    const where = await place(form)
    const { fileId } = await madeFile(where)
    writeFileSync(where.file, form.dataOf(fileId).fill(0x4e, 0, 8).fill(0x4e, 4096, 4104))
    expect(await refusalOf(where)).toMatchObject({ code: 'file_corrupt' })
    writeFileSync(where.file, SQLITE.dataOf(fileId))
    expect(await refusalOf(where)).toMatchObject({ code: 'file_corrupt' })
  })
})

describe('a plaintext replica cache', () => {
  it('is not to be migrated: it is rebuilt', async () => {
    const where = await place(SQLITE)
    writeFileSync(where.file, SQLITE.plaintext)
    const subject = { family: 'libsql_cache', tenant: 'demo' } as const
    const error = await rejectionOf(checkProtected(where.file, subject, where.provider))
    expect(error.code).toBe('manifest_missing')
    expect(error.remediation).toContain('rebuilt')
    expect(error.remediation).not.toContain('migrate')
  })
})

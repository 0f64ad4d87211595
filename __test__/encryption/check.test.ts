import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { checkPlain, checkProtected } from '../../src/encryption/check.js'
import { createProtected, markDeleting } from '../../src/encryption/protect.js'
import { rejectionOf } from '../support/failure.js'
import { DEMO, type Place, dataOf, genuine, madeFile, namesIn, otherProvider, place, sealedBy } from './setup.js'

const PLAINTEXT = Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(4080)])

/** Everything in the data directory, by name. */
function contentOf(dataDir: string): Map<string, Buffer> {
  return new Map(namesIn(dataDir).map((name) => [name, readFileSync(`${dataDir}/${name}`)]))
}

/** The error of the check, which must have left every file as it was. */
async function refusalOf(where: Place, provider = where.provider) {
  const before = contentOf(where.dataDir)
  const error = await rejectionOf(checkProtected(where.file, DEMO, provider))
  expect(contentOf(where.dataDir)).toEqual(before)
  return error
}

describe('a start with encryption on', () => {
  it('accepts a file that was made, and gives its DEK', async () => {
    const where = await place()
    const made = await madeFile(where)
    const before = contentOf(where.dataDir)
    const checked = await checkProtected(where.file, DEMO, where.provider)
    const message = Buffer.from('a message')
    expect(checked?.dek.verifyMac(made.fileId, message, made.dek.mac(made.fileId, message))).toBe(true)
    expect(contentOf(where.dataDir)).toEqual(before)
  })

  it('refuses a plaintext file, and says to migrate it', async () => {
    const where = await place()
    writeFileSync(where.file, PLAINTEXT)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'manifest_missing', path: where.file })
    expect(error.message).toBe(`sidecar manifest is missing: ${where.file}`)
    expect(error.remediation).toContain(
      `nimbus encryption migrate --source ${where.file} --provider sqlite --tenant-id demo`,
    )
  })

  it.each([
    ['ciphertext', Buffer.alloc(4096, 0xa5)],
    ['a few bytes', Buffer.from('abc')],
    ['an empty file', Buffer.alloc(0)],
  ])('refuses %s without a manifest, and says to restore the manifest', async (_name, bytes) => {
    const where = await place()
    writeFileSync(where.file, bytes)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'manifest_missing', path: where.file })
    expect(error.message).toBe(`sidecar manifest is missing: ${where.file}`)
    expect(error.remediation).toContain(`restore ${where.file}.nimbus-enc from the backup`)
  })

  it('refuses a manifest without its file: never an empty database', async () => {
    const where = await place()
    await madeFile(where)
    rmSync(where.file)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'data_missing', path: where.file })
    expect(error.remediation).toContain('backup')
  })

  it('refuses neither file nor manifest as a missing file', async () => {
    expect(await refusalOf(await place())).toMatchObject({ code: 'data_missing' })
  })

  it.each([0, 1, 15])('refuses a file that was cut off after %i bytes', async (length) => {
    const where = await place()
    await madeFile(where)
    truncateSync(where.file, length)
    const error = await refusalOf(where)
    expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
    expect(error.message).toContain(length === 0 ? 'it is empty' : `it was cut off after ${length} bytes`)
  })

  it('refuses a file whose first 16 bytes are not those of its manifest, whichever of them it is', async () => {
    const where = await place()
    const good = dataOf(await madeFile(where))
    for (let at = 0; at < 16; at++) {
      const bytes = Buffer.from(good)
      bytes[at] = (bytes[at] ?? 0) ^ 1
      writeFileSync(where.file, bytes)
      const error = await refusalOf(where)
      expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
      expect(error.message).toContain('file and manifest do not belong together')
    }
  })

  it('refuses a plaintext file under a genuine manifest, and calls it plaintext', async () => {
    const where = await place()
    await madeFile(where)
    writeFileSync(where.file, PLAINTEXT)
    const error = await refusalOf(where)
    expect(error.code).toBe('file_corrupt')
    expect(error.message).toContain('it is plaintext')
  })

  it('refuses wrong key, edited manifest, foreign manifest and altered file with four different codes', async () => {
    const where = await place()
    const made = await madeFile(where)
    const manifest = readFileSync(`${where.file}.nimbus-enc`)
    const codes = [(await refusalOf(where, await otherProvider(where))).code]
    writeFileSync(`${where.file}.nimbus-enc`, manifest.toString().replace('"active"', '"creating"'))
    codes.push((await refusalOf(where)).code)
    const foreign = await genuine(where.provider, { subject: { family: 'sqlite_tenant', tenant: 'evil' } })
    writeFileSync(`${where.file}.nimbus-enc`, foreign.bytes)
    codes.push((await refusalOf(where)).code)
    writeFileSync(`${where.file}.nimbus-enc`, manifest)
    writeFileSync(where.file, dataOf(made).fill(0, 0, 16))
    codes.push((await refusalOf(where)).code)
    expect(codes).toEqual(['key_wrong', 'manifest_altered', 'manifest_mismatch', 'file_corrupt'])
  })

  it('refuses a directory and a pipe in the place of the manifest without hanging', async () => {
    const where = await place()
    const { execFileSync } = await import('node:child_process')
    execFileSync('mkfifo', [`${where.file}.nimbus-enc`])
    const error = await rejectionOf(checkProtected(where.file, DEMO, where.provider))
    expect(error.code).toBe('io_error')
    expect(error.message).toContain('not a regular file')
  })
})

describe('a start that finds an interrupted creation or deletion', () => {
  it.each(['', 'half', 'whole'])('removes what a creation left (data: %j)', async (data) => {
    const where = await place()
    const creating = await createProtected(where.file, DEMO, where.provider, 'sqlcipher-4')
    if (data !== '') writeFileSync(where.file, data === 'half' ? 'half' : dataOf(creating))
    if (data === 'whole') writeFileSync(`${where.file}-wal`, 'frames')
    expect(await checkProtected(where.file, DEMO, where.provider)).toBeUndefined()
    expect(namesIn(where.dataDir)).toEqual([])
  })

  it('finishes a deletion', async () => {
    const where = await place()
    await markDeleting(await madeFile(where))
    writeFileSync(`${where.file}-wal`, 'frames')
    expect(await checkProtected(where.file, DEMO, where.provider)).toBeUndefined()
    expect(namesIn(where.dataDir)).toEqual([])
  })

  it('touches nothing under the wrong key', async () => {
    const where = await place()
    await markDeleting(await madeFile(where))
    expect(await refusalOf(where, await otherProvider(where))).toMatchObject({ code: 'key_wrong' })
  })

  it('touches nothing when the state was only written in by somebody', async () => {
    const where = await place()
    const made = await madeFile(where)
    for (const state of ['creating', 'deleting']) {
      const edited = readFileSync(`${where.file}.nimbus-enc`, 'utf8').replace(/"state":"[a-z]+"/, `"state":"${state}"`)
      writeFileSync(`${where.file}.nimbus-enc`, edited)
      expect(await refusalOf(where)).toMatchObject({ code: 'manifest_altered' })
    }
    expect(readFileSync(where.file)).toEqual(dataOf(made))
  })

  it('refuses a pending rotation and touches nothing', async () => {
    const where = await place()
    const { bytes, manifest } = await genuine(where.provider, { nextGeneration: 2n })
    writeFileSync(`${where.file}.nimbus-enc`, bytes)
    writeFileSync(where.file, dataOf({ fileId: manifest.current.fileId }))
    const error = await refusalOf(where)
    expect(error.code).toBe('unsupported_for_provider')
    expect(error.message).toContain('a key rotation is pending')
  })

  it('believes a state that is genuine, also of a manifest that another version wrote', async () => {
    const where = await place()
    const { manifest, dek } = await genuine(where.provider)
    if (manifest.next !== null) throw new Error('a settled one was asked for')
    writeFileSync(`${where.file}.nimbus-enc`, sealedBy(dek, { ...manifest, state: 'deleting' }))
    expect(await checkProtected(where.file, DEMO, where.provider)).toBeUndefined()
  })
})

describe('a start with encryption off', () => {
  it('refuses an encrypted file and names its manifest, and leaves both as they are', async () => {
    const where = await place()
    await madeFile(where)
    const before = contentOf(where.dataDir)
    const error = await rejectionOf(checkPlain(where.file))
    expect(error).toMatchObject({ code: 'encrypted_but_disabled', path: `${where.file}.nimbus-enc` })
    expect(error.message).toContain(`${where.file}.nimbus-enc`)
    expect(contentOf(where.dataDir)).toEqual(before)
  })

  it('refuses it as well when only the manifest is left, or when the manifest is garbage', async () => {
    const where = await place()
    writeFileSync(`${where.file}.nimbus-enc`, 'garbage')
    expect(await rejectionOf(checkPlain(where.file))).toMatchObject({ code: 'encrypted_but_disabled' })
  })

  it('refuses ciphertext without a manifest', async () => {
    const where = await place()
    writeFileSync(where.file, Buffer.alloc(4096, 0xa5))
    const error = await rejectionOf(checkPlain(where.file))
    expect(error).toMatchObject({ code: 'file_corrupt', path: where.file })
    expect(error.remediation).toContain(`${where.file}.nimbus-enc`)
  })

  it.each([
    ['plaintext', PLAINTEXT],
    ['an empty file', Buffer.alloc(0)],
  ])('accepts %s', async (_name, bytes) => {
    const where = await place()
    writeFileSync(where.file, bytes)
    await expect(checkPlain(where.file)).resolves.toBeUndefined()
  })
})

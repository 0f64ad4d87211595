/**
 * Rotates the DEK of a file, or settles it as a start does, on a disk that kills the process at its n-th change (0: never).
 *
 *     dek-rotator.ts <key file> <file> <kill at> <moment> <rotate | rotate-without-backup | rotate-cache | settle>
 */
import { writeSync } from 'node:fs'
import { basename } from 'node:path'
import { checkProtected } from '../../../src/encryption/check.js'
import { rotateDek } from '../../../src/encryption/rotate-dek.js'
import type { FileSubject } from '../../../src/keys/subject.js'
import { DEMO, FORMS } from '../forms.js'
import { type Moment, mortalDisk } from './mortal-disk.js'
import { openKeys } from './keys.js'

const [keyFile = '', file = '', killAt = '', moment = '', what = ''] = process.argv.slice(2)
const disk = mortalDisk(Number(killAt), moment as Moment)
const { engine } = disk
const provider = await openKeys(keyFile)
const named = FORMS.find(({ fileName }) => basename(file) === fileName)?.subject ?? DEMO
const subject: FileSubject = what === 'rotate-cache' ? { family: 'libsql_cache', tenant: 'demo' } : named

writeSync(1, 'begun\n')
if (what === 'settle') {
  const onRotation = (_: string, end: string): void => void writeSync(1, `${end}\n`)
  await checkProtected(file, subject, provider, { disk, engine, onRotation })
} else {
  const skipBackup = what === 'rotate-without-backup'
  const { outcome, earlier } = await rotateDek(file, subject, { provider, skipBackup, disk, engine })
  writeSync(1, `${earlier ?? 'nothing'} ${outcome}\n`)
}

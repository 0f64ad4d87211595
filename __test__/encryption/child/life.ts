/**
 * The life of one file, from its creation to its end, on a disk that kills the process somewhere in between.
 *
 *     life.ts <key file> <file> <kill at> <moment> <from>     from: create | settle
 *
 * Which family the file belongs to is told by its name.
 */
import { renameSync, writeFileSync, writeSync } from 'node:fs'
import { checkProtected } from '../../../src/encryption/check.js'
import { createProtected, markActive, markDeleting, removeProtected } from '../../../src/encryption/protect.js'
import { FORMS, SQLITE } from '../forms.js'
import { type Moment, mortalDisk } from './mortal-disk.js'
import { openKeys } from './keys.js'

const [keyFile = '', file = '', killAt = '', moment = '', from = ''] = process.argv.slice(2)
const disk = mortalDisk(Number(killAt), moment as Moment)
const provider = await openKeys(keyFile)
const form = FORMS.find(({ fileName }) => file.endsWith(fileName)) ?? SQLITE
const { subject, profile } = form

/** Written at once: a line that was seen was true when the process died. */
const say = (line: string) => writeSync(1, `${line}\n`)

say('begun')
if (from === 'settle') {
  await checkProtected(file, subject, provider, { disk })
} else {
  const creating = await createProtected(file, subject, provider, profile, disk)
  const data = form.dataOf(creating.fileId)
  if (form === SQLITE) {
    disk.step((whole) => writeFileSync(file, data.subarray(0, whole ? data.length : 7)))
    disk.step((whole) => writeFileSync(`${file}-wal`, whole ? 'frames' : ''))
  } else {
    disk.step((whole) => writeFileSync(`${file}.creating`, data.subarray(0, whole ? data.length : 7)))
    disk.step((whole) => whole && renameSync(`${file}.creating`, file))
  }
  const active = await markActive(creating, disk)
  say('created')
  say('deleting')
  const deleting = await markDeleting(active, disk)
  await removeProtected(deleting, disk)
  say('deleted')
}
say('end')

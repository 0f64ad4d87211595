/**
 * Makes a database with a key provider on a disk that kills the process somewhere in between.
 *
 *     create.ts <key file> <file> <kill at> <moment>
 */
import { writeSync } from 'node:fs'
import { masterKeyFile } from '../../../src/keys/master-key-file.js'
import { openingOf } from '../../../src/sqlite/opening.js'
import { custodyAtOnceOf, openProvided, provide } from '../../../src/sqlite/provided.js'
import { atOnce } from '../../../src/sqlite/waiting.js'
import { type Moment, mortalDisk } from '../../encryption/child/mortal-disk.js'

const [keyFile = '', file = '', killAt = '', moment = ''] = process.argv.slice(2)
const disk = mortalDisk(Number(killAt), moment as Moment)
const provider = masterKeyFile(keyFile, [])
if (provider.atOnce === undefined) throw new Error('a master key file answers at once')
const opening = openingOf(file, { keyProvider: provider })
const provided = atOnce(provide(opening, custodyAtOnceOf(opening, provider, provider.atOnce, disk), disk))
openProvided(file, opening.flags, provided)
writeSync(1, 'created\n')

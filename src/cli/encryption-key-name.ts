/** `nimbus encryption key-name`: the name of a subject's key file, for filling a key directory. Needs no configuration. */
import { parseFlags } from '../config/flags.js'
import { describe, keyFileName } from '../keys/subject.js'
import type { Command } from './command.js'
import { SUBJECT_FLAGS, subjectOf } from './subject-flags.js'

const NAME = 'nimbus encryption key-name'
export const encryptionKeyName: Command = {
  usage: '--provider <name> [--tenant-id <id>]',
  description:
    'Prints the name under which a key directory holds the key of one file: its descriptor in hex, and .key.',
  sections: [{ title: 'Options', flags: SUBJECT_FLAGS }],
  async run(argv, { format, print }) {
    const descriptor = describe(subjectOf(NAME, parseFlags(NAME, argv, SUBJECT_FLAGS)))
    const name = keyFileName(descriptor)
    print(format === 'json' ? `${JSON.stringify({ descriptor, key_name: name })}\n` : `${name}\n`)
    return 0
  },
}

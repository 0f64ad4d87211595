/** Rotates the manifests of a directory one after the other: `rotate-one-by-one.mjs <directory> <old key> <new key>`. */
import { argv } from 'node:process'
import { listManifestFiles } from '../../dist/encryption/directory.js'
import { rotateKek } from '../../dist/encryption/rotate-kek.js'
import { openMasterKeyFile } from '../../dist/keys/master-key-file.js'

const [directory, oldKey, newKey] = argv.slice(2)
const from = await openMasterKeyFile(oldKey, [])
const to = await openMasterKeyFile(newKey, [])
for (const path of await listManifestFiles(directory)) {
  for await (const { outcome, error } of rotateKek([path], { from, to, isDryRun: false })) {
    if (outcome !== 'rotated') throw error ?? new Error(`${path}: ${outcome}`)
  }
}
from.close()
to.close()

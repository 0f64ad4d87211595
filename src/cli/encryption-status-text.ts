/** The encryption status for people: a head, one row a file, a verdict. */
import { styleText } from 'node:util'
import type { FileStatus } from '../encryption/status.js'
import type { ProviderDescriptor } from '../keys/provider.js'
import type { EncryptionStatus } from '../server/encryption-posture.js'
import { tableText } from './table-text.js'

export function statusText(status: EncryptionStatus, dataDir: string): string {
  const { descriptor, encrypted_families: families, files } = status
  const head = [
    ['encryption', status.enabled ? 'enabled' : 'disabled'],
    ...(descriptor.status === 'enabled'
      ? [['key provider', `${descriptor.provider} (${locationOf(descriptor)})`]]
      : []),
    ['encrypts', families.join(', ')],
    ['data directory', dataDir],
  ].map(([label = '', value = '']) => `${label.padEnd(16)}${value}\n`)
  return `${head.join('')}\n${filesText(files)}${verdict(files)}\n`
}

function locationOf(descriptor: ProviderDescriptor): string {
  return 'path' in descriptor ? descriptor.path : descriptor.key_id
}

function filesText(files: readonly FileStatus[]): string {
  if (files.length === 0) return ''
  const rows = files.map(({ state, path, profile, generation, created_at: created, rotated_at: rotated, note }) =>
    [state, path, profile, generation, created, rotated, note].map((cell) => cell ?? '-'),
  )
  const titles = ['state', 'file', 'profile', 'generation', 'created', 'rotated', 'note']
  const states = files.map(({ state }) => state)
  return `${tableText(titles, rows, (line, row) => dressed(line, states[row]))}\n`
}

function dressed(line: string, state: FileStatus['state'] | undefined): string {
  return state === undefined ? line : line.replace(state, coloured(state))
}

function verdict(files: readonly FileStatus[]): string {
  const defects = files.filter(({ state }) => state !== 'encrypted').length
  const total = `${files.length} ${files.length === 1 ? 'file' : 'files'}`
  if (files.length === 0) return 'There are no database files yet.'
  if (defects === 0) return `${total}, each encrypted and consistent.`
  return `${total}, of which ${defects} ${defects === 1 ? 'is' : 'are'} not encrypted and consistent.`
}

/** Colour only where a person looks at it, and has not asked for none. */
function coloured(state: FileStatus['state']): string {
  if (!process.stdout.isTTY || (process.env['NO_COLOR'] ?? '') !== '') return state
  return styleText(state === 'encrypted' ? 'green' : state === 'rotation_pending' ? 'yellow' : 'red', state)
}

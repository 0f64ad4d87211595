/** Tenants with one document each, and what a directory of them holds. */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { expect } from 'vitest'
import { allDocuments, fieldsOf } from './contract/home.js'
import type { FileHome } from './file-home.js'

/** Tenants with one document each, closed. */
export async function makeTenants(home: FileHome, ...tenants: string[]): Promise<void> {
  const provider = await home.open()
  for (const tenant of tenants) {
    await provider.create(tenant)
    await (await provider.open(tenant)).insert('posts', { of: tenant, secret: 'plaintext to look for' })
  }
  await provider.close()
}

/** Who is served, each with its own document. */
export async function tenantsOf(home: FileHome): Promise<string[]> {
  const provider = await home.open()
  const { tenants } = await provider.list({})
  for (const { id } of tenants) {
    const documents = await allDocuments(await provider.open(id), 'posts')
    expect(documents.map((document) => fieldsOf(document)['of'])).toEqual([id])
  }
  await provider.close()
  return tenants.map(({ id }) => id)
}

/** The names in the directory, without the lock files of redb, which stay where an opening has made them. */
export function filesIn({ directory }: FileHome): string[] {
  return readdirSync(directory)
    .filter((name) => !name.endsWith('.redb.nimbus-lock'))
    .sort()
}

/** Those files with their bytes. */
export function contentOf(home: FileHome): Record<string, string> {
  const bytesOf = (name: string) => readFileSync(path.join(home.directory, name)).toString('base64')
  return Object.fromEntries(filesIn(home).map((name) => [name, bytesOf(name)]))
}

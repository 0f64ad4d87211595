/** Loads the addon. The only file that does. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type * as Addon from '../../index.js'
import { NimbusError } from '../errors.js'

export const addon = loadAddon()

/** `NIMBUS_NATIVE_PATH`, the file beside the package, or the package for this platform: in this order. */
function loadAddon(): typeof Addon {
  const require = createRequire(import.meta.url)
  const platform = `${process.platform}-${process.arch}${process.platform === 'linux' ? `-${libc()}` : ''}`
  const beside = fileURLToPath(new URL(`../../nimbus.${platform}.node`, import.meta.url))
  const override = process.env['NIMBUS_NATIVE_PATH']
  const from = override ?? (existsSync(beside) ? beside : `@nimbus/storage-${platform}`)
  try {
    return require(from) as typeof Addon
  } catch (cause) {
    throw new NimbusError(
      'native_unavailable',
      `cannot load the native addon for ${platform}, Node ${process.version}`,
      {
        path: from,
        remediation: 'Install the package for this platform, or build it: npm run build:native',
        cause,
      },
    )
  }
}

/** Node's report names the glibc it runs on; on musl there is none. Making the report's header alone is fast. */
function libc(): 'gnu' | 'musl' {
  const report = process.report as { excludeNetwork?: boolean; getReport(): unknown } | undefined
  if (existsSync('/lib64/ld-linux-x86-64.so.2') || existsSync('/lib/ld-linux-aarch64.so.1')) return 'gnu'
  const header = (report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined)?.header
  return header?.glibcVersionRuntime === undefined ? 'musl' : 'gnu'
}

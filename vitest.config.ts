/** How the JavaScript tests run: one process a file, because the addon has state that belongs to a process. */
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  // The examples import the package by its name; in tests that is the source, of which there may be one copy only.
  resolve: { alias: { '@nimbus/storage': fileURLToPath(new URL('src/index.ts', import.meta.url)) } },
  test: {
    include: ['__test__/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    restoreMocks: true,
    unstubEnvs: true,
  },
})

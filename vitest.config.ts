/** How the JavaScript tests run: one process a file, because the addon has state that belongs to a process. */
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

/** What takes a time that other tests would lengthen: by itself, after the others. */
const MEASURED = [
  '__test__/cli/cold-start.test.ts',
  '__test__/keys/aws-kms.test.ts',
  '__test__/server/requests.test.ts',
  '__test__/tenants/slices.test.ts',
  '__test__/tenants/sqlite-start-time.test.ts',
]

export default defineConfig({
  // The examples import the package by its name; in tests that is the source, of which there may be one copy only.
  resolve: { alias: { '@nimbus/storage': fileURLToPath(new URL('src/index.ts', import.meta.url)) } },
  test: {
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 30_000,
    restoreMocks: true,
    unstubEnvs: true,
    projects: [
      {
        extends: true,
        test: {
          name: 'together',
          include: ['__test__/**/*.test.ts'],
          exclude: MEASURED,
          // Vitest would leave one processor for itself. Most tests wait for a disk or another process, and of two processors that is half.
          maxWorkers: availableParallelism(),
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'measured', include: MEASURED, maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
    ],
  },
})

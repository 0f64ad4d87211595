/** Lint rules: typescript-eslint's strict set with types, and the rules of the house that a program can check. */
import eslint from '@eslint/js'
import tseslint from 'typescript-eslint'

/** Keys in the clear live in native memory, so nothing here may encrypt, derive or sign. */
const cryptography = [
  'createCipheriv',
  'createDecipheriv',
  'createHmac',
  'createSecretKey',
  'hkdf',
  'hkdfSync',
  'pbkdf2',
  'pbkdf2Sync',
  'scrypt',
  'scryptSync',
  'subtle',
  'webcrypto',
]

const noCryptography = {
  name: 'node:crypto',
  importNames: [...cryptography, 'default'],
  message: 'Cryptography never happens in TypeScript: add it to crates/crypto and call it through src/native.ts.',
}

const noAddonLoading = {
  name: 'node:module',
  message: 'Only src/native/addon.ts loads native code.',
}

const printsOrExits = [
  ['exit', 'Throw a NimbusError; the command line decides how the process ends.'],
  ['exitCode', 'Throw a NimbusError; the command line decides how the process ends.'],
  ['abort', 'Throw a NimbusError; the command line decides how the process ends.'],
  ['stdout', 'Return what is to be said; only src/cli prints.'],
  ['stderr', 'Return what is to be said; only src/cli prints.'],
].map(([property, message]) => ({ object: 'process', property, message }))

export default tseslint.config(
  {
    ignores: [
      'dist/',
      'target/',
      'coverage/',
      'data/',
      '.quickstart/',
      'index.d.ts',
      'bench/results/',
      '**/node_modules/',
    ],
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  eslint.configs.recommended,
  {
    files: ['src/**/*.ts', '__test__/**/*.ts', 'vitest.config.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: './tsconfig.check.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // A number or a boolean in a message reads as itself; objects and undefined stay forbidden.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // `() => release()` says that it returns whatever release does: nothing.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // An object type is spelled `interface` or `type`, whichever says it best; both are in use on purpose.
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // An async function without `await` rejects where a plain one would throw: contracts are implemented that way.
      '@typescript-eslint/require-await': 'off',
      // Names that come from outside are searched for control characters on purpose.
      'no-control-regex': 'off',
      eqeqeq: 'error',
      'max-lines': ['error', { max: 600, skipBlankLines: false, skipComments: false }],
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx'] }],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'never' }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      'no-console': 'error',
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true, named: true, defaultFrom: true } }],
      'no-restricted-imports': ['error', { paths: [noCryptography, noAddonLoading] }],
      'no-restricted-properties': ['error', ...printsOrExits],
    },
  },
  {
    files: ['__test__/**/*.ts'],
    rules: {
      // `expect.any(String)` is an `any`, in the middle of what is expected.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      // `expect(object.method)` names the method, it does not call it.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    // The boundary: what the addon exports is typed here, and nowhere else.
    files: ['src/native/**/*.ts'],
    rules: {
      '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'as' }],
    },
  },
  {
    files: ['src/native/addon.ts'],
    rules: { 'no-restricted-imports': ['error', { paths: [noCryptography] }] },
  },
  {
    // The only place that prints or exits.
    files: ['src/cli/**/*.ts'],
    rules: { 'no-restricted-properties': 'off' },
  },
  {
    // Plain Node scripts without dependencies; they print, and tsc checks their types.
    files: ['scripts/**/*.mjs', 'bench/**/*.mjs', 'examples/**/*.mjs', '__test__/**/*.mjs', '*.js'],
    languageOptions: {
      globals: Object.fromEntries(
        [
          'console',
          'process',
          'fetch',
          'URL',
          'Buffer',
          'performance',
          'setTimeout',
          'clearTimeout',
          'setInterval',
          'clearInterval',
          'AbortController',
          'AbortSignal',
        ].map((name) => [name, 'readonly']),
      ),
    },
  },
  {
    files: ['**/*.cjs', '__test__/packed/packages/better-sqlite3/index.js'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: Object.fromEntries(['module', 'require', 'process', 'Buffer'].map((name) => [name, 'readonly'])),
    },
  },
)

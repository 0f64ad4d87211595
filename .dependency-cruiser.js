/**
 * The arrows between the rooms of src/, all pointing down:
 * cli -> server -> {tenants, secrets, control} -> encryption -> {keys, manifest} -> native; kv and sqlite -> encryption, since a
 * file may have its key from a provider.
 * A room may use its own files, every room below it, and the leaves; nothing else.
 */

const below = {
  cli: ['server', 'tenants', 'secrets', 'control', 'encryption', 'keys', 'manifest', 'sqlite', 'kv'],
  server: ['tenants', 'secrets', 'control', 'encryption', 'keys', 'manifest'],
  tenants: ['encryption', 'keys', 'manifest'],
  secrets: ['encryption', 'keys', 'manifest'],
  control: ['encryption', 'keys', 'manifest'],
  encryption: ['keys', 'manifest'],
  keys: ['manifest'],
  manifest: ['keys'],
  sqlite: ['encryption', 'keys', 'manifest'],
  kv: ['encryption', 'keys', 'manifest'],
}

const rooms = Object.entries(below).map(([room, lower]) => ({
  name: `${room}-points-down`,
  comment: `src/${room} may use ${[...lower, 'native', 'config', 'errors'].join(', ')}.`,
  severity: 'error',
  from: { path: `^src/${room}/` },
  to: {
    path: '^(src|index[.]d[.]ts)',
    pathNot: `^src/((${[room, ...lower].join('|')})/|config/|native[.]ts$|errors[.]ts$)`,
  },
}))

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...rooms,
    {
      name: 'config-is-a-leaf',
      comment: 'Settings are read before anything else exists; they know only how to fail.',
      severity: 'error',
      from: { path: '^src/config/' },
      to: { path: '^(src|index[.]d[.]ts)', pathNot: '^src/(config/|errors[.]ts$)' },
    },
    {
      name: 'errors-is-a-leaf',
      comment: 'Everything imports the error table; it imports nothing.',
      severity: 'error',
      from: { path: '^src/errors[.]ts$' },
      to: { pathNot: '^$' },
    },
    {
      name: 'native-is-the-floor',
      comment: 'The addon knows bytes; whatever decides lies above it.',
      severity: 'error',
      from: { path: '^src/native([.]ts$|/)' },
      to: { path: '^src/', pathNot: '^src/(native/|errors[.]ts$)' },
    },
    {
      name: 'native-is-one-file',
      comment: 'src/native.ts lists what the rest may use; what is behind it may change its place.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/native([.]ts$|/)' },
      to: { path: '^src/native/' },
    },
    {
      name: 'only-native-knows-the-addon',
      comment: 'One folder knows where the addon lies and what its exports look like.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/native/' },
      to: { path: '(^index[.]d[.]ts$|[.]node$)' },
    },
    {
      name: 'no-cycles',
      comment: 'Two files that need each other are one file, or hide a third.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'what-runs-is-a-dependency',
      comment: 'The published package installs `dependencies` only.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'types', 'default'] },
  },
}

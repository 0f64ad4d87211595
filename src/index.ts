/** The public list: what `import ... from '@nimbus/storage'` gives. Until the library arrives, that is how failures look. */
export { ERROR_CODES, NimbusError } from './errors.js'
export type { ErrorCodeInfo, ErrorDetail, ExitCode, NimbusErrorCode } from './errors.js'

/** How often a process is killed at any moment: 500 times with `NIMBUS_LONG=1`. */
export const INSTANTS = process.env['NIMBUS_LONG'] === '1' ? 500 : 20
/** For all of them. */
export const INSTANTS_MS = 1_200_000

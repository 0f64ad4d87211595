/** The redb provider keeps the document contract, encrypted and plain. */
import { describeTenantContract } from './contract-suite.js'
import { MODES, makeRedbHome } from './file-home.js'

for (const mode of MODES) describeTenantContract(`redb, ${mode}`, () => makeRedbHome(mode))

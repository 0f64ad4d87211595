/** The SQLite provider keeps the document contract, encrypted and plain. */
import { describeTenantContract } from './contract-suite.js'
import { MODES, makeSqliteHome } from './file-home.js'

for (const mode of MODES) describeTenantContract(`SQLite, ${mode}`, () => makeSqliteHome(mode))

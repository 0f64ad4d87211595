/** Where the admin token lies, for the server and for `nimbus token`. */
import { homedir } from 'node:os'
import path from 'node:path'
import type { FlagSpec, ParsedFlags } from './flags.js'
import { flagSpec, settingNamed } from './settings.js'
import { fromEnvironment, fromFlag, type Environment } from './sources.js'
import { parseValue } from './values.js'

export const TOKEN_FLAGS: readonly FlagSpec[] = [flagSpec(settingNamed('auth_token_file'))]

export function resolveTokenFile(flags: ParsedFlags, env: Environment): string {
  const setting = settingNamed('auth_token_file')
  const given = fromFlag(setting, flags) ?? fromEnvironment(setting, env)
  return given === undefined ? defaultTokenFile(env) : String(parseValue(setting, given))
}

/** XDG Base Directory Specification: a relative XDG_DATA_HOME is to be ignored. */
export function defaultTokenFile(env: Environment): string {
  const xdg = env['XDG_DATA_HOME']
  const home = xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(homedir(), '.local', 'share')
  return path.join(home, 'nimbus', 'auth', 'token')
}

/** The `nimbus encryption` commands are told the same things as the server, but by other means. */
import { SETTINGS, namesOf } from '../config/settings.js'
import { NimbusError } from '../errors.js'

/** Says, to whoever gives such a command a flag of the server, by which means. `command` is what the user typed. */
export function refuseServerFlags(command: string, argv: readonly string[]): void {
  for (const word of argv) {
    const setting = SETTINGS.find(({ flag }) => word === flag || word.startsWith(`${flag}=`))
    if (setting === undefined) continue
    const { variable } = setting
    throw new NimbusError('usage', `${command} takes no server flags such as ${setting.flag}`, {
      remediation:
        variable === null
          ? `Leave out ${namesOf(setting)}.`
          : `Set ${variable}, or name a config file in NIMBUS_CONFIG.`,
    })
  }
}

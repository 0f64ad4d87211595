/** The control plane of a directory as any start has it: the one that is there, or a new one. */
import { ControlPlane } from '../../src/control/control-plane.js'
import type { ControlFileOptions } from '../../src/control/file.js'

export async function openControlPlane(options: ControlFileOptions): Promise<ControlPlane> {
  return (await ControlPlane.find(options)) ?? ControlPlane.create(options)
}

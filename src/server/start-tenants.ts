/** Brings tenants and control plane up together, in the one order in which a refused start leaves nothing that the next would refuse. */
import { basename } from 'node:path'
import { ControlPlane } from '../control/control-plane.js'
import type { ControlFileOptions } from '../control/file.js'
import { subjectOfName } from '../encryption/directory.js'
import { ROTATION_ENDS, type RotationEnd } from '../encryption/settle-rotation.js'
import type { SettleOptions } from '../encryption/settle.js'
import type { SeenFile } from '../encryption/status.js'
import { NimbusError } from '../errors.js'
import { describe } from '../keys/subject.js'
import type { TenantProvider } from '../tenants/contract.js'
import { RecordedTenants } from './recorded-tenants.js'

export interface StartOptions {
  readonly tenantsOf: (onRotation: SettleOptions['onRotation']) => TenantProvider
  readonly controlPlane: ControlFileOptions
  /** Where files of tenants lie, if they have any. */
  readonly dataDir: string
  readonly warn: (what: string) => void
}

export interface StartedTenants {
  readonly tenants: RecordedTenants
  readonly control: ControlPlane
  /** The tenants, then the control plane. */
  close(): Promise<void>
}

/**
 * A control plane that is there is opened before the tenants are looked at, and is told if one of them refuses the start. One that
 * is not is made after every tenant has passed: made before, a start under the wrong key, or under none, would leave a
 * control plane that the right key does not open.
 *
 * @throws what `ControlPlane.find` and `create`, and the provider's `start` throw; nothing is open then
 */
export async function startTenants({ tenantsOf, controlPlane, dataDir, warn }: StartOptions): Promise<StartedTenants> {
  const rotations: [path: string, end: RotationEnd][] = []
  const onRotation = (path: string, end: RotationEnd): void => {
    warn(`${path}: ${ROTATION_ENDS[end]}`)
    rotations.push([path, end])
  }
  let control = await ControlPlane.find({ ...controlPlane, onRotation })
  const provider = tenantsOf(onRotation)
  const close = async (): Promise<void> => {
    await provider.close()
    await control?.close()
  }
  try {
    const files = await startProvider(provider, control)
    control ??= await ControlPlane.create(controlPlane)
    for (const [path, end] of rotations) await control.recordRotation(subjectAt(path), end)
    const tenants = new RecordedTenants({ tenants: provider, control, dataDir, warn })
    await tenants.reconcile(files)
    return { tenants, control, close }
  } catch (error) {
    await Promise.allSettled([close()])
    throw error
  }
}

async function startProvider(
  provider: TenantProvider,
  control: ControlPlane | undefined,
): Promise<readonly SeenFile[]> {
  try {
    return await provider.start()
  } catch (error) {
    if (error instanceof NimbusError && error.path !== undefined) await control?.recordRefusal(error.code, error.path)
    throw error
  }
}

/** A file in an event: its descriptor, as far as its name tells. */
function subjectAt(path: string): string {
  const name = basename(path)
  const subject = subjectOfName(name, 'tenants') ?? subjectOfName(name, 'control_plane')
  return subject === undefined ? path : describe(subject)
}

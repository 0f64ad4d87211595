/** moto's KMS: an emulator that others wrote, from PyPI, as an HTTP server of its own. Installed once below node_modules/.cache. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, renameSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { CreateAliasCommand, CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms'

const PACKAGES = ['moto==5.2.5', 'flask==3.1.3', 'flask-cors==6.0.5']
const SITE = resolve('node_modules/.cache/nimbus-moto-5.2.5')
export const MOTO_REGION = 'eu-central-1'

/** Why it is not here, if it is not: it needs python3 with pip, and the packages or a network to fetch them. */
export function whyNoMoto(): string | undefined {
  if (existsSync(SITE)) return undefined
  const python = spawnSync('python3', ['-m', 'pip', '--version'], { encoding: 'utf8' })
  if (python.error !== undefined) return 'there is no python3'
  if (python.status !== 0) return 'there is no pip for python3'
  const half = `${SITE}.${process.pid}`
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary', ':all:']
  const { status, stderr } = spawnSync('python3', [...pip, '--target', half, ...PACKAGES], {
    timeout: 300_000,
    encoding: 'utf8',
  })
  if (status !== 0) {
    rmSync(half, { recursive: true, force: true })
    throw new Error(`pip could not install ${PACKAGES.join(' ')}: ${stderr}`)
  }
  renameSync(half, SITE)
  return undefined
}

export interface Moto {
  readonly url: string
  /** The ARN of a new key, which `alias/<alias>` stands for from now on. */
  addKey(alias: string): Promise<string>
  stop(): void
}

export async function startMoto(): Promise<Moto> {
  const server = spawn('python3', ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'], {
    env: { ...process.env, PYTHONPATH: SITE },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const url = await new Promise<string>((found, reject) => {
    let said = ''
    server.stderr.on('data', (text) => {
      said += String(text)
      const [, where] = /Running on (http:\S+)/.exec(said) ?? []
      if (where !== undefined) found(where)
    })
    server.once('exit', () => reject(new Error(`moto ended: ${said}`)))
  })
  const client = new KMSClient({
    region: MOTO_REGION,
    endpoint: url,
    credentials: { accessKeyId: 'any', secretAccessKey: 'any' },
  })
  return {
    url,
    async addKey(alias) {
      const { KeyMetadata: made } = await client.send(new CreateKeyCommand({}))
      await client.send(new CreateAliasCommand({ AliasName: `alias/${alias}`, TargetKeyId: made?.KeyId }))
      return made?.Arn ?? ''
    },
    stop() {
      client.destroy()
      server.kill('SIGKILL')
    },
  }
}

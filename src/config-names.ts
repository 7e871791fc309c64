/** Names in the environment that look like settings of ours and are none. */
import { closest } from 'fastest-levenshtein'

type Env = Record<string, string | undefined>

/** One line for each name that begins like ours and is unknown, with the nearest known one. */
export function* unknownNames(env: Env, settingNames: readonly string[]): Generator<string> {
  for (const name of Object.keys(env)) {
    if (!name.startsWith('ASSETD_') || settingNames.includes(name) || isKubernetesName(name, env[name]))
      continue
    const near = closest(name, [...settingNames])
    yield `${name} is not a setting of assetd; the nearest known one is ${near}: correct the name or remove it`
  }
}

/**
 * Kubernetes gives every container of a namespace variables for each Service, so a Service called `assetd`
 * looks like settings of ours (kubernetes.io, "Service: environment variables").
 */
export function isKubernetesName(name: string, value: string | undefined): boolean {
  if (/^ASSETD_(\w+_)?PORT$/.test(name) && /^(tcp|udp|sctp):\/\//.test(value ?? '')) return true
  return /^ASSETD_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/.test(
    name,
  )
}

/** One line for each such name: what to do about it. */
export function* kubernetesFaults(env: Env): Generator<string> {
  for (const name of Object.keys(env).sort()) {
    if (!isKubernetesName(name, env[name])) continue
    yield `${name} comes from Kubernetes, for a Service called assetd: set enableServiceLinks: false in the pod's spec, or give the Service another name`
  }
}

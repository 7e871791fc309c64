/**
 * Other projects' test files, out of Debian's source packages. They are fetched from the mirror that this machine's
 * apt is set to, with lists and a cache of their own, and kept in the system's temporary folder: nothing of them ever
 * is in the repository, and nothing of apt's own state is changed.
 */
import { execFile } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { missing } from '../media/encode.ts'

const execute = promisify(execFile)

/** What is used of them is their test files: damaged ones, odd ones, and look-alikes. */
export const fewPackages = [
  'libpng1.6',
  'qpdf',
  'libwebm',
  'taglib',
  'libjpeg-turbo',
  'libimage-exiftool-perl',
] as const

export const morePackages = [
  'filetype.py',
  'golang-github-gabriel-vasile-mimetype',
  'imagemagick',
  'libheif',
  'libmp3-info-perl',
  'libmp4-info-perl',
  'libsndfile',
  'mpg123',
  'pikepdf',
  'pypdf',
  'tiff',
] as const

export type Source = { name: string; folder: string }
export type Sources = { found: Source[]; lacking: { name: string; why: string }[] }

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** Where they are kept from run to run; a folder that is not ours alone is not trusted. */
export function keptIn(): string {
  const uid = process.getuid?.() ?? 0
  const folder = join(tmpdir(), `assetd-corpus-${uid}`)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { mode, uid: owner } = statSync(folder)
  if (owner !== uid || (mode & 0o077) !== 0)
    throw new Error(`${folder} is not ours alone: remove it, and try again`)
  return folder
}

/** What is not kept yet is fetched; what can't be had is told with the reason. */
export async function fetchSources(names: readonly string[]): Promise<Sources> {
  const kept = keptIn()
  const isThere = (name: string): boolean => existsSync(join(kept, name, 'whole'))
  const lacking: Sources['lacking'] = []
  const wanted = names.filter((name) => !isThere(name))
  if (wanted.length > 0) {
    const work = mkdtempSync(join(kept, 'apt-'))
    try {
      const apt = await privateApt(work)
      for (const name of wanted) {
        await unpack(apt, name, kept).catch((error) => lacking.push({ name, why: shortly(error) }))
      }
    } catch (error) {
      for (const name of wanted) lacking.push({ name, why: shortly(error) })
    } finally {
      rmSync(work, { recursive: true, force: true })
    }
  }
  const found = names.filter(isThere).map((name) => ({ name, folder: join(kept, name, 'files') }))
  return { found, lacking }
}

function shortly(error: unknown): string {
  const { message, stderr } = error as { message?: string; stderr?: string }
  const fault = /^E: .*$/m.exec(stderr ?? '')?.[0]
  // The mirror's address is nobody's business here.
  return (fault ?? message ?? String(error)).replaceAll(/https?:\/\/\S+/g, '(an address)').slice(0, 300)
}

type Apt = (folder: string, ...args: string[]) => Promise<string>

/** Throws, with the reason in words, where there is no apt, no mirror, or no network. */
async function privateApt(work: string): Promise<Apt> {
  const absent = missing('apt-get', 'tar', 'xz', 'bzip2')
  if (absent !== false) throw new Error(absent)
  for (const folder of ['lists', 'cache', 'sources']) mkdirSync(join(work, folder))
  writeFileSync(join(work, 'sources', 'corpus.sources'), await sourcesOfMirror())
  const options = {
    'Dir::State::lists': join(work, 'lists'),
    'Dir::Cache': join(work, 'cache'),
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': join(work, 'sources'),
    'APT::Sandbox::User': 'root', // our folders are closed to the user that apt would change to
    'Acquire::Retries': '2',
    'Acquire::http::Timeout': '20',
  }
  const settings = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  const apt: Apt = async (cwd, ...args) => {
    const { stdout } = await execute('apt-get', ['-q', ...settings, ...args], { cwd, timeout: 180_000 })
    return stdout
  }
  await apt(work, 'update', '-o', 'APT::Update::Error-Mode=any')
  return apt
}

/** Of what the machine's apt knows, Debian's own release. */
async function sourcesOfMirror(): Promise<string> {
  const format = '$(REPO_URI)|$(RELEASE)|$(ORIGIN)'
  const { stdout } = await execute('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'])
  const codename = /^VERSION_CODENAME=(\w+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  const lines = [...new Set(stdout.trim().split('\n'))].map((line) => line.split('|'))
  const mirror = lines.find(
    ([, release, origin]) => release === codename && ['Debian', ''].includes(origin ?? ''),
  )
  if (mirror?.[0] === undefined)
    throw new Error('the apt of this machine knows no mirror of a Debian release')
  const signed = existsSync(keyring) ? `Signed-By: ${keyring}\n` : ''
  return `Types: deb-src\nURIs: ${mirror[0]}\nSuites: ${codename}\nComponents: main\n${signed}`
}

/** The project's own archive alone: Debian's changes to it hold no files of media. */
async function unpack(apt: Apt, name: string, kept: string): Promise<void> {
  const folder = join(kept, name)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'files'), { recursive: true })
  await apt(folder, 'source', '--download-only', '--tar-only', name)
  const archives = readdirSync(folder).filter((file) => /\.orig(-\w+)?\.tar\.\w+$/.test(file))
  if (archives.length === 0) throw new Error('apt gave no archive')
  for (const archive of archives) {
    await execute('tar', ['--no-same-owner', '-C', join(folder, 'files'), '-xf', join(folder, archive)])
    rmSync(join(folder, archive))
  }
  writeFileSync(join(folder, 'whole'), '')
}

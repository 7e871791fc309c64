/** The wiring of the page: who is signed in, what files come in, and where they go. */
import { part, say } from './dom.ts'
import { watchDrops } from './drops.ts'
import { createLibrary } from './library.ts'
import { watchPreview } from './preview.ts'
import { createSession } from './session.ts'
import { shownName } from './text.ts'
import { createUploads } from './uploads.ts'

const form = part('sign-in', HTMLFormElement)
const keyField = part('key', HTMLInputElement)
const trouble = part('sign-in-error', HTMLElement)
const files = part('files', HTMLInputElement)

const session = createSession(askForKey)
const library = createLibrary({ session })
const uploads = createUploads({ session, onStored: (id) => void library.take(id) })

/** Uploads stay behind the question, and can be tried again. */
function askForKey(message: string): void {
  session.close()
  library.clear()
  for (const dialog of document.querySelectorAll('dialog')) dialog.close()
  show(false)
  trouble.textContent = message
  keyField.focus()
}

function show(isSignedIn: boolean): void {
  form.hidden = isSignedIn
  part('desk', HTMLElement).hidden = !isSignedIn
  part('account', HTMLElement).hidden = !isSignedIn
}

async function enter(): Promise<void> {
  show(true)
  uploads.resume()
  await library.restart()
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  const key = keyField.value.trim()
  const submit = form.querySelector('button')
  if (submit === null || submit.disabled) return
  trouble.textContent = ''
  if (!/^[\x21-\x7e]+$/.test(key)) {
    trouble.textContent = 'This cannot be an API key: it has spaces, or letters that no key has.'
    return
  }
  submit.disabled = true
  try {
    await session.open(key)
    keyField.value = ''
    await enter()
    if (!session.isOpen()) return
    files.focus()
    say('Signed in.')
  } catch (error) {
    trouble.textContent = session.explain(error)
    keyField.select()
  } finally {
    submit.disabled = false
  }
})

part('sign-out', HTMLButtonElement).addEventListener('click', () => {
  uploads.clear()
  askForKey('')
  say('Signed out.')
})

files.addEventListener('change', () => {
  uploads.add([...(files.files ?? [])])
  files.value = '' // so that the same file can be chosen again
})

watchPreview()
watchDrops({
  zone: part('drop', HTMLElement),
  isOpen: () => session.isOpen(),
  onDrop(dropped, folders) {
    part('drop-error', HTMLElement).textContent =
      folders.length === 0
        ? ''
        : `Folders are not taken: drop the files in ${folders.map(shownName).join(', ')}.`
    uploads.add(dropped)
  },
})
if (session.isOpen()) void enter()
else askForKey('')

/** What the page does to its document. Texts of others go in as text alone: nothing here takes HTML. */

/** @throws where index.html does not have it, or has something else of that name */
export function part<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`)
  return found
}

type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>

/** A new element. A function is what it does when it is pressed; true is an attribute without a value. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener('click', value)
    else if (value !== false) element.setAttribute(name, value === true ? '' : String(value))
  }
  element.append(...children)
  return element
}

export function button(text: string, onPress: () => void, attributes: Attributes = {}): HTMLButtonElement {
  return make('button', { type: 'button', press: onPress, ...attributes }, text)
}

/** Tells those who do not see the page what has just happened. */
export function say(text: string): void {
  part('said', HTMLElement).textContent = text
}

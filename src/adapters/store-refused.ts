/** A store cannot be worked with as it is; the message is one line for whoever starts us, and names no secret. */
export class StoreRefused extends Error {
  override readonly name: string = 'StoreRefused'
}

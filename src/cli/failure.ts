/** A command could not do what it was asked; the message is one line for the person who asked. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'
}

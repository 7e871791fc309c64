import { InvalidArgumentError } from 'commander'

/**
 * For what names a place: a variable of the shell that is not set would otherwise name another one, such as the folder
 * that we run in.
 *
 * @throws {InvalidArgumentError}
 */
export function notEmpty(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.')
  return text
}

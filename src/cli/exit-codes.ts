/** What the exit status of a command means. */
export const exitCodes = {
  /** It could not be done: a folder in use, an unknown key. */
  failure: 1,
  /** The command line or a setting is wrong; nothing was tried. */
  usage: 2,
} as const

/** As a shell has it for a program that Ctrl-C ended. */
export const interruptedStatus = 130

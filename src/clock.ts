/**
 * Two clocks. The wall clock can be moved, by days, at any moment; the steady one only goes on. What we promise for a
 * while (a lease, the replay of an answer) must not end early because somebody set the date.
 */
export interface Clock {
  /** For what people read and for times that others state, such as a token's. Unix milliseconds. */
  wallMs(): number
  /** Unix milliseconds by the wall clock of this process's start, and from then on by a clock that nobody can move. */
  steadyMs(): number
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  steadyMs: () => Math.floor(performance.timeOrigin + performance.now()),
}

/** The start of a promise: it lasts from the later of both clocks. */
export function latestMs(clock: Clock): number {
  return Math.max(clock.wallMs(), clock.steadyMs())
}

/** The end of a promise: it is over once both clocks are beyond it. */
export function earliestMs(clock: Clock): number {
  return Math.min(clock.wallMs(), clock.steadyMs())
}

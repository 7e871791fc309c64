/**
 * Reads `{"inputs": [{…}, …]}` while it arrives, for bodies whose texts are whole files: nothing of a text is kept here.
 * What does not belong there is passed over, as in every body of ours, but it must be JSON.
 */
import { none } from 'stream-chain/core'
import { parser } from 'stream-json/core/parser.js'
import { Fault } from '../errors.ts'
import { invalidParameter } from './query.ts'

export type InputsHandler = {
  /** A field of an input whose value is a text; gives where its pieces go. */
  onText(index: number, field: string): Promise<(piece: string) => Promise<void>>
  /** A field of an input whose value is something else. */
  onOther(index: number, field: string): void
  /** An element of the list that is no object. */
  onNoObject(index: number): void
}

export interface InputsReader {
  write(slice: Buffer): Promise<void>
  /** @returns how many inputs there were; null: there is no such list */
  end(): Promise<number | null>
}

type Token = { name: string; value?: unknown }

const listDepth = 2
const inputDepth = 3
/** What a body that means something has at most: a token for each of these bytes, texts that are all escapes included. */
const bytesPerToken = 20
const freeTokens = 20_000

/** Deeper than anything that means something here; the parser keeps an entry for each level. */
const maxDepth = 100
const longestField = 64

/**
 * @param maxInputs one more is refused as soon as it begins
 * @throws {Fault} `invalid_parameter`, from each of its functions
 */
export function createInputsReader(maxInputs: number, handler: InputsHandler): InputsReader {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const parse = parser({ packValues: false, streamValues: true }) as (input: string | typeof none) => unknown
  let depth = 0
  let field = ''
  let inKey = false
  let hasList = false
  let isList = false
  let count = 0
  let take: ((piece: string) => Promise<void>) | null = null
  let bytes = 0
  let tokensSeen = 0

  const beginsInput = (): boolean => isList && depth === listDepth
  const isOwnField = (): boolean => isList && depth === inputDepth && field !== ''

  const element = (): void => {
    if (count >= maxInputs) {
      throw invalidParameter('inputs', `It has more than ${maxInputs} inputs. Send fewer at once.`)
    }
    count++
  }
  const open = (isObject: boolean): void => {
    if (depth === 0 && !isObject) throw malformed('it is not a JSON object')
    if (depth === 1 && !isObject && field === 'inputs') hasList = isList = true
    else if (beginsInput()) {
      element()
      if (!isObject) handler.onNoObject(count - 1)
    } else if (isOwnField()) handler.onOther(count - 1, field)
    depth++
    field = ''
    if (depth > maxDepth) throw malformed('it is nested too deeply')
  }
  const close = (): void => {
    depth--
    if (depth === 1) isList = false
    field = ''
  }
  const scalar = (): void => {
    if (depth === 0) throw malformed('it is not a JSON object')
    if (beginsInput()) {
      element()
      handler.onNoObject(count - 1)
    } else if (isOwnField()) handler.onOther(count - 1, field)
  }

  const on = async ({ name, value }: Token): Promise<void> => {
    switch (name) {
      case 'startObject':
        return open(true)
      case 'startArray':
        return open(false)
      case 'endObject':
      case 'endArray':
        return close()
      case 'startKey':
        inKey = true
        field = ''
        return
      case 'endKey':
        inKey = false
        return
      case 'startString':
        if (isOwnField()) take = await handler.onText(count - 1, field)
        else scalar()
        return
      case 'stringChunk':
        if (inKey) field = `${field}${value}`.slice(0, longestField + 1)
        else if (take !== null) await take(String(value))
        return
      case 'endString':
        take = null
        return
      case 'startNumber':
      case 'trueValue':
      case 'falseValue':
      case 'nullValue':
        return scalar()
    }
  }

  const feed = async (input: string | typeof none): Promise<void> => {
    const tokens = parse(input) as AsyncGenerator<Token>
    for (;;) {
      const next = await tokens.next().catch((cause) => {
        throw malformed('it is not JSON', cause)
      })
      if (next.done === true) return
      if (++tokensSeen > freeTokens + bytes / bytesPerToken) throw malformed('it has too many parts')
      await on(next.value)
    }
  }
  const text = (slice?: Buffer): string => {
    try {
      return decoder.decode(slice, { stream: slice !== undefined })
    } catch (cause) {
      throw malformed('it is not UTF-8', cause)
    }
  }

  return {
    write(slice) {
      bytes += slice.length
      return feed(text(slice))
    },
    async end() {
      await feed(text())
      await feed(none)
      return hasList ? count : null
    },
  }
}

function malformed(why: string, cause?: unknown): Fault {
  return new Fault(
    'invalid_parameter',
    `The request body cannot be read: ${why}. Send a JSON object with a list named inputs.`,
    { details: { reason: 'malformed_request' }, cause },
  )
}

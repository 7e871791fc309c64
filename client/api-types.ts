/** All types of the API: those of the OpenAPI document (types.ts), and the page of a list that they come in. */
export type * from './types.ts'

/** A page of a list. */
export type Page<T> = { data: T[]; has_more: boolean; next_token: string | null }

/** Names that an agent build and its host agree on. */

/** Prefix of the exports that are the core's own mutable globals. */
export const GLOBAL = "global:";

/**
 * How one step of a call is written down, for the recorded stream and for ours alike. Two streams agree if they are
 * the same texts in the same order, and a difference reads as it is.
 */

/** What a comparison leaves out of a visit that another CPU interfered with. */
export interface Blur {
  /** Recorded address of the entry. */
  readonly entry: string;
  /** What the visit found; with it the kind of the visit, and what only a visit of a valid entry does. */
  readonly found: boolean;
  /** The value read back after the visit. */
  readonly readBack: boolean;
}

const VISIT_KINDS: Readonly<Record<string, string>> = {
  1: "leaf",
  2: "table",
  4: "table, on the way up",
};
const UNKNOWN = "?";

export function visitToken(
  entry: string,
  level: number,
  kind: number,
  addr: string,
  old: string,
  blur?: Blur,
): string {
  const hidden = blur?.found === true && blur.entry === entry;
  const what = hidden ? UNKNOWN : (VISIT_KINDS[kind] ?? String(kind));
  return `visit level ${level} entry ${entry} for ${addr}: ${what} ${hidden ? UNKNOWN : old}`;
}

export function visitEndToken(entry: string, ret: number, value: string, blur?: Blur): string {
  const hidden = blur?.readBack === true && blur.entry === entry;
  return `leave entry ${entry}: returns ${ret}, reads ${hidden ? UNKNOWN : value}`;
}

export const writeToken = (entry: string, level: number, value: string): string =>
  `write level ${level} entry ${entry}: ${value}`;
export const lostToken = (entry: string, level: number): string =>
  `lose level ${level} entry ${entry}`;
export const getToken = (pa: string): string => `get ${pa}`;
export const putToken = (pa: string): string => `put ${pa}`;
export const allocToken = (pa: string): string => `alloc ${pa}`;
export const allocRootToken = (pa: string, pages: number): string =>
  `alloc root ${pa}, ${pages} pages`;
export const freeToken = (pa: string): string => `free ${pa}`;
export const freeRootToken = (pa: string, pages: number): string =>
  `free root ${pa}, ${pages} pages`;
export const builtToken = (pa: string): string => `build ${pa}`;
export const unlinkToken = (pa: string, level: number): string =>
  `unlink ${pa} below level ${level}`;
export const cleanToken = (pa: string, size: string): string => `dcache clean ${pa} + ${size}`;
export const icacheToken = (pa: string, size: string): string =>
  `icache invalidate ${pa} + ${size}`;
export const flushRangeToken = (addr: string, size: string): string => `flush ${addr} + ${size}`;
export const tlbiVmidToken = (): string => "tlbi vmid";
export const tlbiRangeToken = (ipa: string, pages: string): string => `tlbi ${ipa}, ${pages} pages`;

/** `level` absent: not known, for every level. */
export const tlbiIpaToken = (ipa: string, level: number | undefined, local: boolean): string =>
  `tlbi ${local ? "on this CPU " : ""}${ipa} level ${level ?? UNKNOWN}`;

export const returnToken = (answer: string): string => `return ${answer}`;

/** Whether this is a store or the return: what others see of a call. */
export const isOutcome = (token: string): boolean => /^(write|return) /.test(token);

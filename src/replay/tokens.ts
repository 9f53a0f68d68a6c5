/**
 * How one step of a call is written down, for the recorded stream and for ours alike. Two streams agree if they are
 * the same texts in the same order, and a difference reads as it is.
 */

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
): string {
  return `visit level ${level} entry ${entry} for ${addr}: ${VISIT_KINDS[kind] ?? kind} ${old}`;
}

export const visitEndToken = (entry: string, ret: number, value: string): string =>
  `leave entry ${entry}: returns ${ret}, reads ${value}`;
export const writeToken = (entry: string, level: number, value: string): string =>
  `write level ${level} entry ${entry}: ${value}`;
export const lostToken = (entry: string, level: number): string =>
  `lose level ${level} entry ${entry}`;
export const strayToken = (entry: string, addr: string, old: string): string =>
  `change entry ${entry} for ${addr}: from ${old}`;
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

/** Runs in words, the same in pictures, tables and terminals. */
import type { GuestShare, OwnershipRun, PageState } from "./map.ts";

/** Fewer letters for narrow places. */
export const SHORT: Readonly<Record<PageState, string>> = {
  OWNED: "OWNED",
  SHARED_OWNED: "SO",
  SHARED_BORROWED: "SB",
  NOPAGE: "·",
};

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** `64 KiB`, `1.5 GiB`. */
export function bytes(value: number): string {
  let unit = 0;
  let rest = value;
  for (; Number(rest.toFixed(1)) >= 1024 && unit < UNITS.length - 1; unit++) rest /= 1024;
  return `${Number(rest.toFixed(1))} ${UNITS[unit]}`;
}

/** `0x8000_0000`: grouped by four digits, as long numbers are read. */
export function address(value: number): string {
  const digits = value.toString(16).padStart(8, "0");
  return `0x${digits.replace(/(?<=.)(?=(.{4})+$)/g, "_")}`;
}

/** `1 run`, `2 runs`. */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** `0x1000 gfn 0x40000`, `0x1000 ×2`. */
export function guestWords({ handle, leaves, gfn }: GuestShare): string {
  const place = gfn === undefined ? "" : ` gfn ${hex(gfn)}`;
  return `${hex(handle)}${place}${leaves > 1 ? ` ×${leaves}` : ""}`;
}

/** Whose a run is, and who else has it: `host, shared with the hypervisor, 1 reference`. */
export function whose(run: OwnershipRun): string {
  const { host, hyp, guests, references, owner } = run;
  const names = [...new Set(guests.map(guestWords))].join(" and ");
  const pins = references > 0 ? `, ${counted(references, "reference")}` : "";
  const lent = owner === "guest" && host === "SHARED_BORROWED";
  if (owner === "nobody") return `nobody${pins}`;
  if (owner === "hyp") return `hypervisor${pins}`;
  if (owner === "guest") return `guest ${names}${lent ? ", shared with the host" : ""}${pins}`;
  if (host === "OWNED") return `host${pins}`;
  const others = [
    ...(hyp === "SHARED_BORROWED" ? ["the hypervisor"] : []),
    ...(guests.length > 0 ? [`${guests.length > 1 ? "guests" : "guest"} ${names}`] : []),
  ];
  const sharers = others.length > 0 ? others.join(" and ") : "the secure world";
  return `host, shared with ${sharers}${pins}`;
}

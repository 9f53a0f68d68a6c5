/**
 * A schedule for people: one column for each agent, one line for each step.
 *
 *   V0                                    | F
 *   load entry of 0x40000000: 0x8000007ff |
 *                                         | swap entry of 0x40000000: 0x... -> 0x...
 */
import { ACCESS } from "../instrument/step.ts";
import type { Stop } from "../agents/stop.ts";
import type { Event } from "./event.ts";

/** What lies at an address, in words. */
export type Label = (address: number) => string;

const VERBS: Readonly<Record<number, string>> = {
  [ACCESS.LOAD]: "load",
  [ACCESS.STORE]: "store",
  [ACCESS.READ_MODIFY_WRITE]: "modify",
  [ACCESS.COMPARE_EXCHANGE]: "compare-exchange",
  [ACCESS.FILL]: "fill",
  [ACCESS.COPY_TO]: "copy to",
};

export function printTrace(
  events: readonly Event[],
  names: readonly string[],
  label: Label,
): string {
  const waiting = new Set<Stop>();
  const texts = events.map((event) => {
    const queued = waiting.has(event.stop); // its second step: it goes on
    waiting.add(event.stop);
    return queued ? describeEnd(event, label) : describe(event, label);
  });
  const widths = names.map((name, agent) =>
    Math.max(
      name.length,
      ...texts.filter((_, i) => events[i]?.agent === agent).map((t) => t.length),
    ),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, agent) => cell.padEnd(widths[agent] as number))
      .join(" | ")
      .trimEnd();
  const rows = events.map(({ agent }, index) =>
    line(names.map((_, column) => (column === agent ? (texts[index] as string) : ""))),
  );
  return [line(names), widths.map((width) => "-".repeat(width)).join("-+-"), ...rows].join("\n");
}

function describe(event: Event, label: Label): string {
  const { stop } = event;
  const what = label(stop.address);
  if (stop.kind === ACCESS.NOTIFY) return `wake ${what}${event.inVain ? ": nobody waits" : ""}`;
  if (stop.kind === ACCESS.WAIT) return describeWait(event, what);
  const verb = VERBS[stop.kind] ?? `access ${stop.kind}`;
  if (stop.bytes > 8) return `${verb} ${what}, ${stop.bytes} bytes`;
  const [before, after] = [value(event, event.before), value(event, event.after)];
  if (stop.kind === ACCESS.LOAD) return `${verb} ${what}: ${before}`;
  return event.write
    ? `${verb} ${what}: ${before} -> ${after}`
    : `${verb} ${what}: stays ${before}`;
}

function describeEnd(event: Event, label: Label): string {
  const what = label(event.stop.address);
  return event.timeout ? `gives up waiting for ${what}` : `goes on, woken at ${what}`;
}

function describeWait(event: Event, what: string): string {
  const expected = `0x${event.stop.expected.toString(16)}`;
  if (event.queue) return `wait for ${what} to change from ${expected}`;
  return `wait for ${what}: is not ${expected}`;
}

function value({ stop }: Event, [low, high]: readonly [number, number]): string {
  const words = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  const shifted = words >> BigInt((stop.address & 3) * 8);
  return `0x${BigInt.asUintN(stop.bytes * 8, shifted).toString(16)}`;
}

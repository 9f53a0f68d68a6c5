/** Guests of a VM: they load and store, their aborts are handled by the core, and the test's host says which page is where. */
import { STATE } from "../../../src/_abi.ts";
import { ABORT, FACT } from "../../../src/vm/_abi.ts";
import { type Call, type Part, faultOf, flag } from "./observe.ts";
import { A, EAGAIN, PAGE } from "./support.ts";
import { type Guest, type VmBed } from "./vm_bed.ts";

/** What the host says of an hva. */
export interface HostPage {
  readonly pa: number;
  /** FACT bits. Default: the page can be written. */
  readonly facts?: number;
  /** log2 of what the host maps with one leaf. Default a page. */
  readonly hostShift?: number;
}

/** Looks up an hva, by steps that are scheduled. */
export type Host = (guest: Guest) => Part<HostPage>;

const PAGE_SHIFT = 12;

/** The host has this page there, for ever. */
export function steady(pa: number, hostShift = PAGE_SHIFT): Host {
  // eslint-disable-next-line require-yield
  return function* () {
    return { pa, hostShift };
  };
}

/** The host has page A there; once the flag is n, page n of guest memory. Its page table is the one word of observe.ts. */
export const moving: Host = function* ({ on }) {
  return { pa: A + (yield* flag(on)) * PAGE };
};

/** What accesses of a guest met. */
export interface Met {
  /** What the last attempt answered: a value or 0, or the fault that was left. */
  result: number;
  /** What the last abort came to: ABORT, or -errno. 0: none was met. */
  outcome: number;
  aborts: number;
  /** Aborts that were void, as an invalidation or a change of slots was in between. */
  retried: number;
  /** Aborts that lost a race in the page table. */
  again: number;
  /** Aborts whose page the host was told is dirty. */
  dirtied: number;
}

export function met(): Met {
  return { result: NaN, outcome: 0, aborts: 0, retried: 0, again: 0, dirtied: 0 };
}

/** One abort of the guest, which its registers tell of: ABORT, or -errno. */
export function* handled(bed: VmBed, guest: Guest, host: Host, seen: Met): Part<number> {
  const { on, context, cpu } = guest;
  const core = on.core;
  const syndrome = [STATE.ESR, STATE.FAR, STATE.HPFAR].map((at) => bed.lab.read64(cpu + at));
  seen.aborts++;
  seen.outcome = yield* bed.asks(on, syndrome, () => core.vm_abort_begin(context, 0));
  if (seen.outcome !== ABORT.RESOLVE) return seen.outcome;
  const { pa, facts = FACT.WRITABLE, hostShift = PAGE_SHIFT } = yield* host(guest);
  seen.outcome = yield* bed.asks(on, [pa], () =>
    core.vm_abort_finish(context, facts, 0, hostShift),
  );
  if (bed.result(on, 4) === EAGAIN) seen.again++;
  seen.dirtied += bed.result(on, 6);
  seen.retried += bed.result(on, 7);
  return seen.outcome;
}

/**
 * Makes an access until it works, meets anything but "go on", or has aborted `most` times. What it met is kept as it comes. Who loses
 * a race waits until the handlers that are at it have ended: a marker may stand for as long as its owner is not let go on.
 */
export function* accessed(
  bed: VmBed,
  guest: Guest,
  access: Call,
  host: Host,
  seen: Met,
  most = 3,
): Part<number> {
  for (let aborts = 0; ; aborts++) {
    seen.result = yield access;
    if (faultOf(seen.result) === undefined || aborts === most) return seen.result;
    const { again } = seen;
    if ((yield* handled(bed, guest, host, seen)) !== ABORT.RESUME) return seen.result;
    if (seen.again === again) continue;
    yield () => guest.on.core.lock_write(bed.pgt);
    yield () => guest.on.core.unlock_write(bed.pgt);
  }
}

/** A load or store of 4 bytes. */
export function loads({ on, cpu }: Guest, ipa: number): Call {
  return () => on.core.vcpu_read(cpu, ipa, 4);
}

export function stores({ on, cpu }: Guest, ipa: number, value: number): Call {
  return () => on.core.vcpu_write(cpu, ipa, 4, value);
}

/** Makes an access of the start state that is to fault: its abort is what the guest's registers tell of then. */
export function faulted({ on, cpu }: Guest, ipa: number, value?: number): void {
  const { core } = on;
  const result =
    value === undefined ? core.vcpu_read(cpu, ipa, 4) : core.vcpu_write(cpu, ipa, 4, value);
  if (faultOf(result) === undefined) throw new Error(`an access at ${ipa} worked`);
}

/** Whether an access was made. */
export function worked({ result }: Met): boolean {
  return faultOf(result) === undefined;
}

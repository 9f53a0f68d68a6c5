/** Guests whose faults are handled as KVM handles them: what a vCPU thread does between two accesses. */
import { ACCESS, OP } from "../../../src/_abi.ts";
import { type Agent } from "../../../src/explorer/litmus.ts";
import { Prot, WalkFlag } from "../../../src/index.ts";
import { type Call, type Part, faultOf } from "./observe.ts";
import { CACHE_UNLIMITED, EAGAIN, FAULT, PAGE } from "./support.ts";

export { ACCESS, OP };

/** How KVM's fault handler walks: beside others, and stopped by a lost race. */
export const FAULT_WALK = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;

/** A map as a fault handler makes it. */
export function mapShared(
  { core }: Agent,
  pgt: number,
  ipa: number,
  pa: number,
  prot: number,
  size = PAGE,
): Call {
  return () => core.s2_map(pgt, ipa, size, pa, prot, FAULT_WALK, CACHE_UNLIMITED);
}

/** A load or store of 4 bytes. */
export function load({ core }: Agent, v: number, va: number): Call {
  return () => core.vcpu_read(v, va, 4);
}

export function store({ core }: Agent, v: number, va: number, value: number): Call {
  return () => core.vcpu_write(v, va, 4, value);
}

/** What an access met until it worked, or until it had met too much. */
export interface Course {
  /** What the last attempt answered. */
  result: number;
  translation: number;
  permission: number;
  /** Calls of the handler that lost a race. */
  again: number;
  faults: number;
}

/** How the handler answers each kind of fault. */
export interface Handler {
  readonly map: Call;
  readonly relax: Call;
  /** What is done before the guest goes on, if the handler lost a race. Default nothing: it faults again at once. */
  readonly again?: readonly Call[];
}

/** The handler of a vCPU that needs `prot` at a page. */
export function handler(on: Agent, pgt: number, ipa: number, pa: number, prot: number): Handler {
  return {
    map: mapShared(on, pgt, ipa, pa, prot),
    relax: () => on.core.s2_relax_perms(pgt, ipa, prot),
  };
}

/**
 * The same, and who loses a race waits until the fault handlers that are at it have ended: otherwise a guest faults as often
 * as it likes on a marker whose owner the scheduler does not let go on.
 */
export function patient(fix: Handler, { core }: Agent, pgt: number): Handler {
  return { ...fix, again: [() => core.lock_write(pgt), () => core.unlock_write(pgt)] };
}

/** Makes an access until it works; at most `most` faults. What it met is kept in `course` as it comes. */
export function* retried(access: Call, fix: Handler, course: Course, most = 4): Part<number> {
  while (true) {
    course.result = yield access;
    const fault = faultOf(course.result);
    if (fault === undefined || course.faults === most) return course.result;
    course.faults++;
    course[fault === FAULT.PERMISSION ? "permission" : "translation"]++;
    const status = yield fault === FAULT.PERMISSION ? fix.relax : fix.map;
    if (status === EAGAIN) {
      course.again++;
      for (const call of fix.again ?? []) yield call;
    } else if (status !== 0) return (course.result = status as number); // no answer for a guest
  }
}

export function course(): Course {
  return { result: NaN, translation: 0, permission: 0, again: 0, faults: 0 };
}

/** What a handler of reads asks for, and one of writes. */
export const READS = Prot.R;
export const WRITES = Prot.RW;

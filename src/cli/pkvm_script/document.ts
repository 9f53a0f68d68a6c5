/** What came of a script: every call with its result, what it changed, and who owns what at the end. The JSON of the command. */
import type { OwnershipMap, PageState } from "../ownership/map.ts";
import type { StateName } from "./syntax.ts";

export interface CallRecord {
  /** The call in words: its name and arguments. */
  readonly call: string;
  readonly result: number;
  /** `0`, `-EPERM`, … */
  readonly resultName: string;
}

/** A page at one moment. */
export interface PageView {
  readonly host: PageState;
  readonly hyp: PageState;
  /** Guest leaves that cover it. */
  readonly count: number;
  readonly references: number;
  /** Who has it in a guest: handle, state, leaves. */
  readonly guests: readonly {
    readonly handle: number;
    readonly state: PageState;
    readonly leaves: number;
  }[];
}

/** Pages in a row that were alike before a statement, and after. */
export interface PageChange {
  readonly pa: number;
  readonly size: number;
  readonly before: PageView;
  readonly after: PageView;
  readonly changed: boolean;
}

/** What a guest has at an address: `rwx` and bytes where there is a leaf. */
export interface GuestView {
  readonly state: StateName;
  readonly pa?: number;
  readonly size?: number;
  readonly rights?: string;
  readonly accessed?: boolean;
}

export interface GuestChange {
  readonly handle: number;
  readonly gfn: number;
  readonly before: GuestView;
  readonly after: GuestView;
}

/** A claim of `expect`, or the result of a call. */
export interface Check {
  readonly expected: string;
  readonly found: string;
  readonly ok: boolean;
}

/** A statement that was run. */
export interface Step {
  readonly line: number;
  readonly text: string;
  readonly kind: "note" | "show" | "value" | "call" | "guest" | "load" | "expect";
  readonly calls: readonly CallRecord[];
  readonly checks: readonly Check[];
  readonly pages: readonly PageChange[];
  readonly guests: readonly GuestChange[];
  /** Of `show`: who owns what at this point. */
  readonly ownership?: OwnershipMap;
}

export interface ScriptResult {
  readonly script: string;
  /** Every check holds. */
  readonly ok: boolean;
  readonly calls: number;
  readonly held: number;
  readonly differing: number;
  readonly steps: readonly Step[];
  readonly ownership: OwnershipMap;
}

/**
 * What a hypercall script says, once it is read:
 *
 *     memory 0x8000_0000 64M            the machine, before the first statement
 *     generation newest
 *
 *     note Text for the reader
 *     $page = @0x8010_0000              the number of the page at this address
 *     $vm = guest protected vcpus 2     a VM with all that it takes, its first vCPU loaded
 *     share_hyp $page -> 0              a hypercall, and its result
 *     $vm = init_vm 0 $kvm …            a hypercall whose result gets a name
 *     share_guest $page $gfn + 1 1 RWX with none -> -ENOMEM
 *     expect host $page OWNED, count $page 0
 *     show                              who owns what at this point
 *     load $vm                          puts the vCPU that is loaded, loads one of this VM
 */
import type { Call } from "./calls.ts";
import type { Line } from "./words.ts";

/** A sum of names and numbers, modulo 2^64. */
export interface Expression {
  readonly terms: readonly Term[];
  /** As it was written. */
  readonly text: string;
}

export interface Term {
  readonly minus: boolean;
  /** The number of the page at this address, in place of the value itself. */
  readonly page: boolean;
  readonly value: bigint | { readonly name: string };
}

/** A result as a script writes it: `0`, `-EPERM`, `-22`, `NOT_SUPPORTED`, `$handle`. */
export interface Expected {
  readonly value: Expression | number;
  readonly text: string;
}

export type StateName = "OWNED" | "SHARED_OWNED" | "SHARED_BORROWED" | "NOPAGE" | "POISON";

/** One claim of `expect`. */
export type Claim =
  | { readonly about: "host" | "hyp"; readonly page: Expression; readonly state: StateName }
  | {
      readonly about: "guest";
      readonly handle: Expression;
      readonly gfn: Expression;
      readonly state: StateName;
    }
  | {
      readonly about: "count" | "references";
      readonly page: Expression;
      readonly value: Expression;
    }
  | { readonly about: "owner"; readonly page: Expression; readonly owner: Owner };

/** Who owns a page: a guest by its handle. */
export type Owner = "host" | "hyp" | "nobody" | Expression;

/** What each kind of statement says. */
export type Statement = { readonly line: Line } & (
  | { readonly kind: "note"; readonly text: string }
  | { readonly kind: "show" }
  | { readonly kind: "let"; readonly name: string; readonly value: Expression }
  | {
      readonly kind: "guest";
      readonly name: string;
      readonly protectedGuest: boolean;
      readonly vcpus: number;
    }
  | { readonly kind: "load"; readonly handle: Expression; readonly index: Expression | undefined }
  | CallStatement
  | { readonly kind: "expect"; readonly claims: readonly Claim[] }
);

export interface CallStatement {
  readonly kind: "call";
  readonly call: Call;
  readonly values: readonly Expression[];
  /** Pages that the host's kernel hands along. Undefined: as many as it takes. */
  readonly memcache: readonly Expression[] | undefined;
  readonly name: string | undefined;
  readonly expected: Expected | undefined;
}

/** The machine that a script asks for. */
export interface MachineRequest {
  readonly memory: readonly { pa: number; size: number; noMap: boolean }[];
  readonly generation: "seed" | "default" | "newest";
  readonly granule: "4K" | "16K" | "64K";
  readonly paBits: number;
  readonly options: Readonly<Record<string, boolean>>;
}

export interface Script {
  readonly file: string;
  readonly machine: MachineRequest;
  /** Where the machine is described, for errors: the last such line, or the first of the script. */
  readonly machineLine: Line | undefined;
  readonly statements: readonly Statement[];
}

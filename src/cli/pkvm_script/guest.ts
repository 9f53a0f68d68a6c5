/**
 * A VM with all that it takes, as a kernel makes one: `struct kvm` shared with the hypervisor, pages donated for the VM, the root of its
 * table and its vCPUs, then its first vCPU loaded.
 */
import { CALLS, type Call } from "./calls.ts";
import { callWords } from "./call_words.ts";
import type { CallRecord, Check } from "./document.ts";
import type { ScriptMachine } from "./machine.ts";
import { resultName } from "./results.ts";
import type { Statement } from "./syntax.ts";

type GuestStatement = Extract<Statement, { kind: "guest" }>;

interface Made {
  /** Its handle, or what the call that failed answered. */
  readonly handle: number;
  readonly records: readonly CallRecord[];
  readonly checks: readonly Check[];
}

const PROTECTED = 1n;
const ANY_HANDLE = 0n;

/** Makes it; the first call that fails is the last. */
export function makeGuest(machine: ScriptMachine, statement: GuestStatement): Made {
  const records: CallRecord[] = [];
  const call = (name: string, ...words: bigint[]): number => {
    if (records.at(-1) !== undefined && (records.at(-1) as CallRecord).result < 0) return -1;
    const known = CALLS.get(name) as Call;
    const result = machine.call(known.number, words);
    records.push({ call: callWords(known, words), result, resultName: resultName(result) });
    return result;
  };
  const page = (count = 1): bigint => machine.takePages(count, statement.line);
  const handle = initVm(statement, call, page, machine.entryTablePages);
  for (let i = 0; i < statement.vcpus; i++) call("init_vcpu", BigInt(handle), page());
  if (machine.loaded !== undefined) call("vcpu_put");
  call("vcpu_load", BigInt(handle), 0n);
  const last = records.at(-1) as CallRecord;
  const check = { expected: "a guest", found: last.resultName, ok: last.result >= 0 };
  return { handle: check.ok ? handle : last.result, records, checks: check.ok ? [] : [check] };
}

function initVm(
  { protectedGuest, vcpus }: GuestStatement,
  call: (name: string, ...words: bigint[]) => number,
  page: (count?: number) => bigint,
  entryPages: number,
): number {
  const kvm = page();
  call("share_hyp", kvm);
  const flags = protectedGuest ? PROTECTED : 0n;
  return call("init_vm", ANY_HANDLE, kvm, page(), page(entryPages), BigInt(vcpus), flags);
}

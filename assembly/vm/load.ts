/**
 * A vCPU context on a CPU (kvm_arch_vcpu_load, _put): its VMID, and what another vCPU of the same VM left in the CPU's TLB. vCPUs of a
 * VM may give one ASID to different tables, so what the CPU combined for one must not serve another.
 */
import { EBUSY, EINVAL, EMFILE, ETIMEDOUT } from "../errno";
import { setResult, toPhysical } from "../layout";
import { READ_SIDE, refuse, vcpuInside } from "../operation";
import { Pgt } from "../pgt";
import { configure } from "../vcpu/configure";
import { dropCombined } from "../vcpu/invalidate";
import { derived, Vcpu } from "../vcpu/state";
import { loadVmid, NO_NUMBER, numberIn, putVmid, rolledOver } from "../vmid";
import { Context, contextAt, count, LOADS } from "./context";
import { harvest, takeBuffer, useBuffer } from "./hdbss";
import { locked, lockTable, NO_TABLE, unlockTable } from "./locks";
import { Vm } from "./vm";

// @ts-ignore: decorator
@inline function cpuOf(c: Context): Vcpu { return changetype<Vcpu>(c.cpu); }
// @ts-ignore: decorator
@inline function lastRunOf(vm: Vm, cpu: u32): usize { return vm.lastRun + (<usize>(cpu - 1) << 1); }

/** 1: with another VMID than the last time, 0: with the same; -EINVAL: no page table, -EBUSY: the CPU runs another context. */
export function loadContext(c: Context, cpu: usize): i32 {
  if (vcpuInside()) return refuse();
  const vm = c.vm;
  if (!cpu) return -EINVAL;
  const v = changetype<Vcpu>(cpu);
  const d = derived(v);
  if (d.owner && d.owner != ownerWord(c)) return -EBUSY;
  if (c.cpu == cpu) harvest(c);
  else putContext(c);
  const result = lockTable(vm, READ_SIDE); // the table does not go meanwhile
  if (result != 0) return result == NO_TABLE ? -EINVAL : result;
  const loaded = loadTable(vm, c, v, changetype<Pgt>(locked));
  unlockTable(READ_SIDE);
  return loaded;
}

function loadTable(vm: Vm, c: Context, v: Vcpu, pgt: Pgt): i32 {
  const d = derived(v);
  const id = loadVmid(changetype<usize>(vm) + offsetof<Vm>("vmid"), d.number);
  if (id == 0) return -ETIMEDOUT;
  if (id == NO_NUMBER) return -EMFILE;
  const number = numberIn(id);
  if (pgt.vmid != number) pgt.vmid = number;
  v.vttbr = toPhysical(pgt.root) | <u64>number << 48;
  d.owner = ownerWord(c);
  c.cpu = changetype<usize>(v);
  takeBuffer(v); // a CPU comes without
  useBuffer(c, v);
  configure(v);
  const dropped = takeTurn(vm, c, v, number);
  const renewed = id != c.vmid;
  c.vmid = id;
  count(c, LOADS);
  setResult(0, number);
  setResult(1, <u64>dropped);
  setResult(2, <u64>rolledOver);
  return <i32>renewed;
}

/** Field that the end of the CPU clears. */
// @ts-ignore: decorator
@inline function ownerWord(c: Context): usize { return changetype<usize>(c) + offsetof<Context>("cpu"); }

/** Whether another vCPU of this VM ran here last: then what it left goes. */
function takeTurn(vm: Vm, c: Context, v: Vcpu, number: u32): bool {
  const word = lastRunOf(vm, derived(v).number);
  const last = load<u16>(word);
  store<u16>(word, <u16>(c.id + 1));
  if (!last || last == c.id + 1) return false;
  dropCombined(v, number);
  return true;
}

/** The same by the word that a CPU has of its context; 0 none. */
export function putOwner(word: usize): void {
  if (word) putContext(contextAt(word - offsetof<Context>("cpu")));
}

/** What its hardware has recorded goes into the log; the CPU is free for others. */
export function putContext(c: Context): void {
  if (!c.cpu) return;
  harvest(c);
  const v = cpuOf(c);
  takeBuffer(v);
  v.vttbr = 0; // the table is not its own any more, and may go
  configure(v);
  putVmid(derived(v).number);
  derived(v).owner = 0;
  c.cpu = 0;
}

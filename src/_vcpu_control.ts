/** Registers, state and counts of a vCPU, and the instructions that are no accesses. */
import { AT_OP, STATE } from "./_abi.ts";
import { outcome } from "./_outcome.ts";
import { VcpuAccesses } from "./_vcpu_accesses.ts";
import { type Par, decodePar } from "./_vcpu_look.ts";
import {
  type Registers,
  checkedRegisters,
  readRegisters,
  writeRegisters,
} from "./_vcpu_registers.ts";
import { type VcpuStatistics, readStatistics, resetStatistics } from "./_vcpu_statistics.ts";
import { type TlbiOperation, type VcpuTlbiRequest, prepareTlbi } from "./_vcpu_tlbi.ts";
import type { VirtualAddress } from "./access.ts";
import type { Fault } from "./fault.ts";
import { choiceOption, flagOption } from "./range.ts";

/** An address translation instruction: its name behind AT. */
export type AtOperation = keyof typeof AT_OP;

const AT_NAMES = Object.keys(AT_OP) as AtOperation[];
const EL_SHIFT = 2;
const PAN = 1 << 22;

/** The part of {@link Vcpu} that is no access to memory. */
export class VcpuControl extends VcpuAccesses {
  /** By which number events name this vCPU. */
  get number(): number {
    return this.cpu.number;
  }

  /** The system registers, as they are now: a copy. */
  get registers(): Registers {
    return readRegisters(this.cpu);
  }

  /**
   * Writes system registers, with the barrier behind it: translations from now on use them. The TLB keeps what it holds; its
   * entries are tagged with VMID and ASID.
   * @throws Stage2Error `BAD_OPTION` for other names, and values that are no bigints in [0, 2^64); nothing is written then.
   */
  setRegisters(values: Partial<Registers>): void {
    writeRegisters(this.cpu, checkedRegisters(values));
    this.cpu.configure();
  }

  /** Exception level. Setting it is an exception entry or return, also where it stays the same: the monitor opens. */
  get el(): 0 | 1 | 2 {
    return ((this.cpu.pstate >>> EL_SHIFT) & 3) as 0 | 1 | 2;
  }

  set el(level: 0 | 1 | 2) {
    this.cpu.setPstate(3 << EL_SHIFT, choiceOption("el", level, [0, 1, 2]) << EL_SHIFT);
    this.clearExclusive();
  }

  /** PSTATE.PAN: EL1 may not access what EL0 may. */
  get pan(): boolean {
    return (this.cpu.pstate & PAN) !== 0;
  }

  set pan(on: boolean) {
    this.cpu.setPstate(PAN, flagOption("pan", on) ? PAN : 0);
  }

  /**
   * Executes an address translation instruction: what it leaves in PAR_EL1, or the fault that is taken to EL2 instead. At
   * EL2 a stage-2 fault is in PAR_EL1 too; at EL1 one on a stage-1 descriptor is taken (Arm ARM D8.2.13).
   * @throws Stage2Error `BAD_OPTION`, `BAD_ADDRESS`, `DISPOSED`
   */
  at(operation: AtOperation, va: VirtualAddress): Par | Fault {
    const op = AT_OP[choiceOption("operation", operation, AT_NAMES)];
    const { cpu } = this;
    cpu.setAddress(va);
    if (cpu.core.vcpu_at(cpu.pointer, op) < 0) return cpu.fault();
    return decodePar(cpu.registers[STATE.PAR_EL1 / 8] as bigint);
  }

  /**
   * Executes a TLB invalidation instruction for this vCPU's VMID, and the DSB behind it: after a broadcast no vCPU of another
   * thread uses what was invalidated. It may be inside its own bracket; addresses from before are not good any more then.
   * @throws Stage2Error `BAD_OPTION`: no such instruction, an operand that it needs or does not take. `BAD_ADDRESS`.
   *   Of a broadcast: `ETIMEDOUT`, a vCPU inside its bracket did not poll; `EDEADLK`, it is another one of this thread.
   */
  tlbi(operation: TlbiOperation, request: VcpuTlbiRequest = {}): void {
    const { cpu } = this;
    const { pointer } = cpu;
    const { op, level } = prepareTlbi(cpu.context, operation, request, "local");
    const local = flagOption("local", request.local ?? false);
    const status = cpu.core.vcpu_tlbi(pointer, op, level, local ? 0 : 1);
    outcome(cpu.context, status, "tlbi", { operation, ...request });
  }

  /** What was counted: a copy. */
  get statistics(): VcpuStatistics {
    return readStatistics(this.cpu);
  }

  /** All counts are 0 again. */
  resetStatistics(): void {
    resetStatistics(this.cpu);
  }

  /**
   * Runs the dirty-state cleaner (FEAT_HACDBS) over the entries that HACDBSBR_EL2 and HACDBSCONS_EL2 name: pages that are
   * dirty become writable-clean. How many entries were processed; HACDBSCONS_EL2 says where it stopped and why. TLB
   * invalidation is the caller's duty.
   */
  cleanDirtyState(): number {
    return this.cpu.core.vcpu_hacdbs(this.cpu.pointer) >>> 0;
  }
}

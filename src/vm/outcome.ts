/** What a guest abort comes to: what the embedder does next. */
import { Stage2Error } from "../errors.ts";
import { Fault } from "../fault.ts";
import type { MmioSize } from "./bus.ts";

/** An abort as the CPU reports it: a {@link Fault} taken to EL2, or its registers. */
export type GuestAbort =
  | Fault
  | {
      /** ESR_EL2. */
      readonly esr: bigint;
      /** FAR_EL2: the guest's virtual address. */
      readonly far: bigint;
      /** HPFAR_EL2, the raw register: the intermediate physical address, bits 51:12, in its bits 43:4. */
      readonly hpfar: bigint;
    };

/** Let the guest make its access again. */
export interface Resume {
  readonly reason: "resume";
  readonly ret: 1;
}

/** Let the guest take an exception at EL1, with these registers. Its program counter stays. */
export interface Inject {
  readonly reason: "inject";
  readonly ret: 1;
  /** ESR_EL1. */
  readonly esr: bigint;
  /** FAR_EL1. */
  readonly far: bigint;
  /** An instruction abort; else a data abort. */
  readonly instruction: boolean;
}

/** The instruction does nothing here: {@link VmVcpu.pc} is behind it. */
export interface Skip {
  readonly reason: "skip";
  readonly ret: 1;
}

/** Pend an SError with ISV = 1, unless the host's own error handling takes care of it. */
export interface SError {
  readonly reason: "serror";
  readonly ret: 1;
}

/** The page has a hardware error: what a host tells its process by SIGBUS, BUS_MCEERR_AR. */
export interface Poisoned {
  readonly reason: "poisoned";
  readonly ret: 1;
  readonly hva: number;
  /** log2 of the bytes that are lost. */
  readonly lsb: number;
}

/** An access where no memory is, and no device of the bus: emulate it, then {@link complete}. */
export interface MmioExit {
  readonly reason: "mmio";
  readonly ret: 0;
  /** Guest physical address. */
  readonly address: number;
  readonly size: MmioSize;
  readonly write: boolean;
  /** What is written, of `size` bytes, unsigned; undefined for a read. */
  readonly data: bigint | undefined;
  /**
   * Ends the instruction: what was read goes into its register, extended as the instruction says, and the program counter
   * behind it.
   * @throws Stage2Error `BAD_OPTION` without data for a read, with data for a write, or the second time.
   */
  complete(data?: bigint): void;
}

/** Such an access by an instruction that the syndrome does not describe (`KVM_EXIT_ARM_NISV`), if the VM asked for it. */
export interface NisvExit {
  readonly reason: "nisv";
  readonly ret: 0;
  /** CM, WnR and FSC of ESR_EL2.ISS. */
  readonly iss: number;
  readonly ipa: number;
}

/** The dirty ring is full up to its reserve (`KVM_EXIT_DIRTY_RING_FULL`): the guest does not run until it is reset. */
export interface DirtyRingFull {
  readonly reason: "dirtyRingFull";
  readonly ret: 0;
}

/** `ret` is what KVM's handler returns: 1 to re-enter the guest, 0 to leave to user space. */
export type AbortOutcome =
  Resume | Inject | Skip | SError | Poisoned | MmioExit | NisvExit | DirtyRingFull;

/** What {@link VmVcpu.run} may end with instead of the access. */
export type Exit = AbortOutcome;

export const RESUME: Resume = Object.freeze({ reason: "resume", ret: 1 });
/** The same for who asks: but the access has been made, by a device of the bus. */
export const COMPLETED: Resume = Object.freeze({ reason: "resume", ret: 1 });
export const SKIP: Skip = Object.freeze({ reason: "skip", ret: 1 });
export const SERROR: SError = Object.freeze({ reason: "serror", ret: 1 });
export const RING_FULL: DirtyRingFull = Object.freeze({ reason: "dirtyRingFull", ret: 0 });

/** What of a fault is not a hypervisor's: the guest takes it itself. */
export function ownFault(fault: Fault): Inject | undefined {
  if (fault.el === 2) return undefined;
  const { esr, far, fetch } = fault;
  return { reason: "inject", ret: 1, esr, far, instruction: fetch };
}

/** Refuses what is no abort of a guest. @throws Stage2Error `BAD_OPTION` */
export function checkAbort(abort: GuestAbort): void {
  if (abort instanceof Fault) {
    if (abort.el === 2) return;
    throw new Stage2Error("BAD_OPTION", "the guest takes this fault itself, at EL1");
  }
  const { esr, far, hpfar } = (abort ?? {}) as Partial<Record<string, unknown>>;
  if (isRegister(esr) && isRegister(far) && isRegister(hpfar)) return;
  const message = "an abort is a Fault, or esr, far and hpfar as bigints of 64 bits";
  throw new Stage2Error("BAD_OPTION", message, { esr, far, hpfar });
}

function isRegister(value: unknown): boolean {
  return typeof value === "bigint" && value >= 0n && value < 2n ** 64n;
}

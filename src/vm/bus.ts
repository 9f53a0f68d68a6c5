/** Devices inside the hypervisor: what answers an access where no memory is, before the embedder is asked (`kvm_io_bus`). */
import { Stage2Error } from "../errors.ts";

/** Bytes of an access to a device. */
export type MmioSize = 1 | 2 | 4 | 8;

/**
 * Devices in the guest's physical address space. It is asked with no lock held, may throw, reject and re-enter the VM. Where
 * it answers with promises, only {@link VmVcpu.handleAbortAsync} can be used.
 */
export interface Bus {
  /** What is read, of `size` bytes, unsigned; undefined: no device of mine is there. */
  read(address: number, size: MmioSize): bigint | undefined | Promise<bigint | undefined>;
  /** Whether a device of mine was there, and took the value. */
  write(address: number, size: MmioSize, value: bigint): boolean | Promise<boolean>;
}

/** Refuses what cannot be asked. @throws Stage2Error `BAD_OPTION` */
export function checkedBus(bus: unknown): Bus | undefined {
  if (bus === undefined) return undefined;
  const { read, write } = (bus ?? {}) as Partial<Bus>;
  if (typeof read === "function" && typeof write === "function") return bus as Bus;
  throw new Stage2Error("BAD_OPTION", "a bus has read() and write()", { bus });
}

/** A device's answer to a read. @throws Stage2Error `BAD_OPTION` if it is none */
export function checkedRead(answer: unknown): bigint | undefined {
  if (answer === undefined || typeof answer === "bigint") return answer;
  throw new Stage2Error("BAD_OPTION", "the bus must answer a read with a bigint or undefined", {
    answer,
  });
}

/** A device's answer to a write. @throws Stage2Error `BAD_OPTION` if it is none */
export function checkedWrite(answer: unknown): boolean {
  if (typeof answer === "boolean") return answer;
  throw new Stage2Error("BAD_OPTION", "the bus must answer a write with true or false", { answer });
}

/** Whether an answer comes later. */
export function isPromise(answer: unknown): answer is Promise<unknown> {
  return typeof (answer as { then?: unknown } | null | undefined)?.then === "function";
}

/** The refusal of an answer that comes later where nobody waits. What becomes of it nobody hears. */
export function asynchronous(answer: PromiseLike<unknown>, message: string): Stage2Error {
  Promise.resolve(answer).catch(() => {}); // the error comes in its place
  return new Stage2Error("BAD_OPTION", message);
}

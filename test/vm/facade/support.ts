/** What the facade's tests share: an engine with guest memory, a backing that counts, aborts as registers. */
import type {
  Backing,
  BackingAnswer,
  BackingRequest,
  EngineOptions,
  HostPage,
  Vm,
  VmOptions,
  VmVcpu,
} from "../../../src/index.ts";
import type { Lab } from "../../support.ts";
import { makeVm } from "../kind.ts";

export const PAGE = 4096;
export const IPA = 0x4000_0000;
export const HVA = 0x7f00_0000_0000;
export const RAM = 0x8000_0000;
export const RAM_BYTES = 1 << 20;
/** What pages may be of: the guest RAM, and memory without bytes behind it. */
const FRAMES = { pa: RAM, size: 64 * RAM_BYTES };

/** Room for a few thousand table pages, and one MiB of guest memory. */
export const WITH_RAM: EngineOptions = {
  maxTablePages: 8192,
  maxThreads: 4,
  maxObjects: 64,
  guestRam: { pa: RAM, size: RAM_BYTES },
};

/** Every page is there, the guest RAM over and over; `answer` says otherwise. */
export class Counting implements Backing {
  readonly asked: BackingRequest[] = [];
  answer: (request: BackingRequest) => BackingAnswer | Promise<BackingAnswer> = page;

  resolve(request: BackingRequest): BackingAnswer | Promise<BackingAnswer> {
    this.asked.push({ ...request });
    return this.answer(request);
  }
}

/** The page of guest RAM at a host address. */
export function page({ hva }: Pick<BackingRequest, "hva">): HostPage {
  return { pa: RAM + (hva % RAM_BYTES), writable: true };
}

export interface Scene {
  readonly vm: Vm;
  readonly vcpu: VmVcpu;
  readonly memory: Counting;
}

/** A VM with one slot of `size` bytes at {@link IPA}, and a vCPU. */
export function scene(here: Lab, options: VmOptions = {}, size = RAM_BYTES, flags = 0): Scene {
  const memory = new Counting();
  const given = { memory, ...options };
  const vm = here.keep(makeVm(here.engine, given, FRAMES));
  if (size > 0) vm.setMemslot({ slot: 0, ipa: IPA, size, hva: HVA, flags });
  return { vm, vcpu: vm.createVcpu(), memory };
}

/** ESR_EL2, FAR_EL2, HPFAR_EL2 of a data abort: a translation fault of level 3, with ISV if `access` is given. */
export function dataAbort(
  ipa: number,
  access?: { size: 1 | 2 | 4 | 8; write?: boolean; register?: number; sse?: boolean; sf?: boolean },
): { esr: bigint; far: bigint; hpfar: bigint } {
  const { size = 4, write = false, register = 0, sse = false, sf = false } = access ?? {};
  const shape =
    (1 << 24) |
    (Math.log2(size) << 22) |
    (Number(sse) << 21) |
    (register << 16) |
    (Number(sf) << 15);
  const iss = (access === undefined ? 0 : shape) | (Number(write) << 6) | 0x07;
  const esr = (0x24n << 26n) | (1n << 25n) | BigInt(iss);
  return { esr, far: BigInt(ipa), hpfar: (BigInt(ipa) >> 12n) << 4n };
}

/** A promise, and what settles it. */
export function deferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: unknown) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

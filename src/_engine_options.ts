/** What an engine is made with, checked. */
import { type Bank, type GuestRam, checkedBanks } from "./_guest_ram.ts";
import type { Mode } from "./_load.ts";
import { checkedPatience } from "./_patience.ts";
import { type Region, type Shape, chooseMode } from "./_region.ts";
import { Stage2Error } from "./errors.ts";
import { type Address, address, choiceOption, integerOption, knownOptions } from "./range.ts";

/** How an engine is made. */
export interface EngineOptions {
  /** Most table pages that can be in use, in units of 4 KiB: 1 to about 2^20. Default 65,536, or what an adopted region holds. */
  maxTablePages?: number;
  /** Which build runs. Default: threads where shared memory can be had, else single. */
  mode?: Mode;
  /** Physical address of the first table page: a multiple of 1 MiB below 2^47. Default 1 GiB. */
  tablePhysicalBase?: Address;
  /** Threads that may be attached at a time: 1 to 1,024. Default 16. */
  maxThreads?: number;
  /**
   * Milliseconds that this thread waits for another one (a lock, a vCPU inside its bracket, a walk) before it throws
   * `ETIMEDOUT`, which names it: 10 to 600,000. Default 2,000. Each thread has its own: {@link Engine.attach}.
   */
  patience?: number;
  /** Page tables and caches that may exist at a time: 1 to 2^20. Default 1,024. */
  maxObjects?: number;
  /**
   * Width of the VMIDs that {@link Engine.vm} gives its VMs (ID_AA64MMFR1_EL1.VMIDBits): with 8 they run out after 255 VMs, and a new
   * generation begins. Default 16.
   */
  vmidBits?: 8 | 16;
  /** Event records kept until they are drained: 1 to 2^22, rounded up to a power of two. Default 16,384. */
  eventCapacity?: number;
  /** An embedder's memory to live in. It is never grown by the engine. */
  memory?: WebAssembly.Memory;
  /** The part of `memory` to use. Default: all of it above 64 KiB. */
  region?: Region;
  /**
   * Guest memory, up to 7 banks, in {@link Engine.memoryMap} from the start: of zeros in a memory of the engine's own, which
   * holds less than 4 GiB in all. In an embedder's memory each bank needs a `pointer`, and is left as it is.
   */
  guestRam?: GuestRam | readonly GuestRam[];
  /** The core, compiled elsewhere (`stage2/core.wasm` or `stage2/core.single.wasm`, by mode). */
  module?: WebAssembly.Module;
}

const OPTIONS = [
  "maxTablePages",
  "mode",
  "tablePhysicalBase",
  "maxThreads",
  "patience",
  "maxObjects",
  "vmidBits",
  "eventCapacity",
  "memory",
  "region",
  "guestRam",
  "module",
];

/** Options with their defaults. */
export interface CheckedOptions {
  mode: Mode;
  shape: Shape;
  physical: number;
  patience: number;
  vmidBits: 8 | 16;
  banks: readonly Bank[];
}

/** Checks names and values. @throws Stage2Error */
export function checkedOptions(options: EngineOptions): CheckedOptions {
  knownOptions("engine", options, OPTIONS);
  const { memory, region, module } = options;
  if (memory !== undefined && !(memory instanceof WebAssembly.Memory)) {
    throw new Stage2Error("BAD_OPTION", "memory must be a WebAssembly.Memory", { memory });
  }
  if (memory === undefined && region !== undefined) {
    throw new Stage2Error("BAD_OPTION", "a region needs a memory", { region });
  }
  if (module !== undefined) checkModule(module);
  const wanted =
    options.mode === undefined
      ? undefined
      : choiceOption<Mode>("mode", options.mode, ["threads", "single"]);
  const physical = address(options.tablePhysicalBase ?? 2 ** 30, "tablePhysicalBase");
  if (physical % 2 ** 20 !== 0 || physical >= 2 ** 47) {
    throw new Stage2Error(
      "BAD_OPTION",
      "tablePhysicalBase must be a multiple of 1 MiB below 2^47",
      {
        tablePhysicalBase: physical,
      },
    );
  }
  const banks = checkedBanks(options.guestRam, memory !== undefined);
  const patience = checkedPatience(options.patience);
  const shape = {
    units: integerOption("maxTablePages", options.maxTablePages ?? 65_536, 1, 2 ** 20),
    threads: integerOption("maxThreads", options.maxThreads ?? 16, 1, 1024),
    objects: integerOption("maxObjects", options.maxObjects ?? 1024, 1, 2 ** 20),
    events: integerOption("eventCapacity", options.eventCapacity ?? 16_384, 1, 2 ** 22),
  };
  const vmidBits = choiceOption<8 | 16>("vmidBits", options.vmidBits ?? 16, [8, 16]);
  return { mode: chooseMode(wanted, memory), shape, physical, patience, vmidBits, banks };
}

/** Refuses what is no compiled module. @throws Stage2Error `BAD_OPTION` */
export function checkModule(module: unknown): void {
  if (module instanceof WebAssembly.Module) return;
  throw new Stage2Error("BAD_OPTION", "module must be a WebAssembly.Module", { module });
}

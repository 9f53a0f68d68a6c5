/** What tests of guest memory share: one over bytes or without, and a VM that is none, and writes down what it is told. */
import { afterEach, beforeEach, expect } from "vitest";
import type { Mode } from "../../../src/_load.ts";
import { Engine } from "../../../src/engine.ts";
import type { BackingAnswer, HostPage } from "../../../src/vm/backing.ts";
import {
  GuestMemory,
  type GuestMemoryOptions,
  type HostRange,
  type Notified,
} from "../../../src/vm/memory/guest_memory.ts";
import { request } from "./request.ts";

export { request } from "./request.ts";

export const MODES: readonly Mode[] = ["threads", "single"];
export const MIB = 2 ** 20;
export const PAGE = 4096;
/** A bank of frames with bytes, a multiple of 2 MiB. */
export const BANK = { pa: 0x8000_0000, size: 8 * MIB };
/** Where areas lie. */
export const HVA = 0x7f00_0000_0000;

/** A VM to the memory: remembers what was mapped from it, until it is told to give it up. */
export class FakeVm implements Notified {
  /** "start" and "end" with their ranges, and what the test adds. */
  readonly log: string[] = [];
  /** Pages that a guest could use now. */
  readonly mapped = new Map<number, HostPage>();
  refuses: Error | undefined;
  /** Called between dropping the pages and returning from the start. */
  onStart: (range: HostRange) => void = () => {};

  invalidateStart(range: HostRange): void {
    if (this.refuses !== undefined) throw this.refuses;
    for (const hva of this.mapped.keys()) {
      if (hva >= range.hva && hva < range.hva + range.size) this.mapped.delete(hva);
    }
    this.log.push(`start ${name(range)}`);
    this.onStart(range);
  }

  invalidateEnd(range: HostRange): void {
    this.log.push(`end ${name(range)}`);
  }

  /** What was told since the last time. */
  told(): string[] {
    return this.log.splice(0);
  }
}

function name({ hva, size }: HostRange): string {
  return `${(hva - HVA).toString(16)}+${size.toString(16)}`;
}

/** The memory of the running test, with a VM that is told. */
export interface Lab {
  readonly engine: Engine;
  readonly ram: GuestMemory;
  readonly vm: FakeVm;
  /** A guest's access to a page. */
  access(hva: number, write?: boolean): BackingAnswer | Promise<BackingAnswer>;
  /** One that finds a page at once. No page that is mapped elsewhere may have the same frame, but for zeros. */
  page(hva: number, write?: boolean): HostPage;
  /** A byte of physical memory. */
  byte(pa: number): number;
  poke(pa: number, value: number): void;
}

/** A fresh memory for every test; after it everything is unmapped, and no frame may be in use. */
export function lab(mode: Mode = "threads", options: Partial<GuestMemoryOptions> = BANK): Lab {
  let engine: Engine;
  let ram: GuestMemory;
  let vm: FakeVm;

  beforeEach(async () => {
    engine = await Engine.create({ mode, maxTablePages: 64, guestRam: BANK });
    ram = GuestMemory.create(engine, { ...options });
    vm = new FakeVm();
    ram.addVm(vm);
  });
  afterEach(() => {
    vm.refuses = undefined;
    vm.onStart = () => {};
    ram.release();
    expect(ram.counters.framesUsed, "frames that outlived their areas").toBe(0);
    expect(vm.mapped.size, "pages that the VM was not told of").toBe(0);
    ram.dispose();
    engine.dispose();
  });

  function access(hva: number, write = false): BackingAnswer | Promise<BackingAnswer> {
    return ram.resolve(request(hva, write));
  }

  function page(hva: number, write = false): HostPage {
    const answer = access(hva, write);
    if (typeof answer !== "object" || answer instanceof Promise) throw new Error(String(answer));
    if (!("pa" in answer)) throw new Error("the page is poisoned");
    if (ram.state(hva).state !== "zero") {
      for (const [other, { pa }] of vm.mapped) if (other !== hva) expect(pa).not.toBe(answer.pa);
    }
    vm.mapped.set(hva, answer);
    return answer;
  }

  return {
    get engine() {
      return engine;
    },
    get ram() {
      return ram;
    },
    get vm() {
      return vm;
    },
    access,
    page,
    byte: (pa) => engine.memoryMap.bytes(pa, 1)[0] as number,
    poke: (pa, value) => engine.memoryMap.bytes(pa, 1).fill(value),
  };
}

/** Bytes of one value. */
export function bytes(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

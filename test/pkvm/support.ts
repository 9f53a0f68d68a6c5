/**
 * What pKVM's tests share: a machine with memory, hypercalls by name, all states to read, guests made by raw hypercalls.
 *
 *     const { engine, pkvm, call, page } = bed();          // fresh for every test of the suite; nothing may be left after it
 *     const pfn = page();                                  // of the host, handed out once
 *     expect(call("shareHyp", pfn)).toBe(0);
 *     expect(state(pkvm, pfn)).toMatchObject({ host: "SHARED_OWNED", hyp: "SHARED_BORROWED" });
 */
import { afterEach, beforeEach, expect } from "vitest";
import {
  type CallOptions,
  Engine,
  type EngineOptions,
  type HypercallName,
  type MemoryRegion,
  type Mode,
  type Pkvm,
  type PkvmOptions,
  type PkvmPageState,
  type Word,
} from "../../src/index.ts";

export const PAGE = 4096;
/** Pages of a block. */
export const BLOCK = 512;

export const EPERM = -1;
export const ENOENT = -2;
export const E2BIG = -7;
export const EAGAIN = -11;
export const ENOMEM = -12;
export const EFAULT = -14;
export const EBUSY = -16;
export const EEXIST = -17;
export const EINVAL = -22;
export const ERANGE = -34;
export const EHWPOISON = -133;

/** Protections as hypercalls take them: {@link Prot}. */
export const R = 4;
export const W = 2;
export const X = 1;
export const RW = R | W;
export const RWX = R | W | X;

/** 16 MiB with the host's own pages at the top, a hole of devices, 4 MiB, and a MiB that firmware keeps. */
export const RAM = 0x8000_0000;
export const RAM_BYTES = 16 * 2 ** 20;
export const RAM2 = 0x9000_0000;
export const RAM2_BYTES = 4 * 2 ** 20;
export const FIRMWARE = 0x9040_0000;
export const FIRMWARE_BYTES = 2 ** 20;
export const DEVICES = 0x900_0000;

export const MEMORY: readonly MemoryRegion[] = [
  { pa: RAM, size: RAM_BYTES },
  { pa: RAM2, size: RAM2_BYTES },
  { pa: FIRMWARE, size: FIRMWARE_BYTES, noMap: true },
];

/** First page of {@link RAM2}, whose blocks are whole: 512 pages each, two of them. */
export const BLOCK_PFN = RAM2 / PAGE;

const SMALL: EngineOptions = { maxTablePages: 8192, maxThreads: 4, maxObjects: 64 };

/** Makes a hypercall by name. */
export type Call = (call: HypercallName | number, ...words: (Word | CallOptions)[]) => number;

/** A machine that a test works on. */
export interface Bed {
  readonly engine: Engine;
  readonly pkvm: Pkvm;
  readonly call: Call;
  /** A page of the host that nobody was given yet, of {@link RAM}; its pfn. */
  readonly page: () => number;
  /** `n` of them in a row, the first aligned to `align` pages. */
  readonly pages: (n: number, align?: number) => number;
  /** Is disposed at the end of the test, the last first. */
  readonly keep: <T extends { dispose(): void }>(object: T) => T;
}

/** Opens an engine with a machine; the caller ends it. */
export async function openBed(
  options: Partial<PkvmOptions> = {},
  engineOptions: EngineOptions = {},
): Promise<Bed & { close(): number }> {
  const engine = await Engine.create({ ...SMALL, ...engineOptions });
  const pkvm = engine.pkvm({ memory: MEMORY, ...options });
  const kept: { dispose(): void }[] = [];
  let next = RAM / pkvm.pageSize;
  const pages = (n: number, align = 1): number => {
    const first = Math.ceil(next / align) * align;
    next = first + n;
    return first;
  };
  return {
    engine,
    pkvm,
    call: (call, ...words) => pkvm.hypercall(call, ...words),
    page: () => pages(1),
    pages,
    keep(object) {
      kept.push(object);
      return object;
    },
    /** Ends everything: table pages that are left, which should be none. */
    close() {
      for (const object of kept.splice(0).reverse()) object.dispose();
      for (const { handle } of pkvm.vms()) tearDown(pkvm, handle);
      pkvm.dispose();
      const { used } = engine.memoryUsage();
      engine.dispose();
      return used;
    },
  };
}

/** A fresh bed for every test of the suite, by one look (`bed()` inside a test); after it, page accounting must be zero. */
export function beds(
  options: Partial<PkvmOptions> = {},
  mode: Mode = "single",
  engineOptions: EngineOptions = {},
): () => Bed {
  let open: Awaited<ReturnType<typeof openBed>> | undefined;
  beforeEach(async () => {
    open = await openBed(options, { ...engineOptions, mode });
  });
  afterEach(() => {
    const used = open?.close();
    open = undefined;
    expect(used, "table pages that outlived the test").toBe(0);
  });
  return () => {
    if (open === undefined) throw new Error("no test is running");
    return open;
  };
}

/** The state of a page, by its number. */
export function state(pkvm: Pkvm, pfn: number): PkvmPageState {
  return pkvm.pageState(pfn * pkvm.pageSize);
}

/** The three letters of a page's state, for tables: "O-" host owns, "Ob" … host then hyp; O owned, S shared-owned, B borrowed, - none. */
export function states(pkvm: Pkvm, pfn: number): string {
  const letters = { OWNED: "O", SHARED_OWNED: "S", SHARED_BORROWED: "B", NOPAGE: "-" } as const;
  const { host, hyp } = state(pkvm, pfn);
  return letters[host] + letters[hyp];
}

/**
 * Everything that calls may change, as plain data: runs of pages by state and owner, what the hypervisor maps, each guest's entries, and counts.
 * A call that is refused leaves an equal snapshot. The host's own table is not part of it: it is built lazily.
 */
export function snapshot(pkvm: Pkvm): object {
  return {
    pages: [...pkvm.ranges()],
    hyp: [...pkvm.hypStage1.leaves()].map(({ va, size, pa, prot }) => ({ va, size, pa, prot })),
    vms: pkvm.vms().map(({ stage2, ...vm }) => ({
      ...vm,
      entries: [...stage2.entries(undefined, { tables: false })].map(({ ipa, size, pte }) => ({
        ipa,
        size,
        pte,
      })),
    })),
    hostPages: pkvm.hostPages,
    loaded: pkvm.loaded,
  };
}

/** A guest that was made by raw hypercalls. */
export interface Guest {
  readonly handle: number;
  /** The page of its struct kvm, shared with the hypervisor. */
  readonly kvm: number;
  /** Pages that were donated for it: VM struct, root, vCPUs. */
  readonly donated: readonly number[];
}

/** Makes a VM with `vcpus` vCPUs from fresh pages of the host, and loads the first unless told not to. */
export function makeGuest(
  { pkvm, call, page, pages }: Bed,
  options: { vcpus?: number; isProtected?: boolean; load?: boolean } = {},
): Guest {
  const { vcpus = 1, isProtected = false, load = true } = options;
  const [kvm, struct, root] = [page(), page(), pages(pkvm.entryTablePages)];
  expect(call("shareHyp", kvm)).toBe(0);
  const handle = call("initVm", 0, kvm, struct, root, vcpus, isProtected ? 1 : 0);
  expect(handle).toBeGreaterThanOrEqual(0x1000);
  const donated = [struct];
  for (let i = 0; i < pkvm.entryTablePages; i++) donated.push(root + i);
  for (let index = 0; index < vcpus; index++) {
    const pfn = page();
    expect(call("initVcpu", handle, pfn)).toBe(index);
    donated.push(pfn);
  }
  if (load) expect(call("vcpuLoad", handle, 0)).toBe(0);
  return { handle, kvm, donated };
}

/** A memcache list of `n` fresh pages of the host: for `shareGuest` and `donateGuest`. */
export function refill({ pages }: Bed, n = 3): { memcache: Word[] } {
  const first = pages(n);
  return { memcache: Array.from({ length: n }, (_, i) => first + i) };
}

/** Puts its vCPU if this thread has it, and ends the VM. */
export function tearDown(pkvm: Pkvm, handle: number): void {
  if (pkvm.loaded?.handle === handle) expect(pkvm.hypercall("vcpuPut")).toBe(0);
  expect(pkvm.hypercall("teardownVm", handle)).toBe(0);
}

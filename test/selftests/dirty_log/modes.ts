/** The ways to learn which pages are dirty, each as one step that collects, and after which writes are told again. */
import { expect } from "vitest";
import type { Vm, VmVcpu } from "../../../src/index.ts";
import { SLOT } from "../harness/slot/scene.ts";

export const MODES = ["log", "clear", "ring", "ring with bitmap", "hdbss"] as const;
export type ModeName = (typeof MODES)[number];

/** What is collected from. */
export interface Logged {
  readonly vm: Vm;
  readonly vcpus: readonly VmVcpu[];
  readonly pages: number;
}

/** Pages that were told, by their number in the slot; of each vCPU's ring the last one told. */
export interface Collection {
  readonly dirty: Uint8Array;
  readonly last: ReadonlyMap<number, number>;
}

/** Asks for the mode, before slots and vCPUs are made. `ringBytes`: of a ring. */
export function prepareMode(mode: ModeName, vm: Vm, ringBytes: number): void {
  if (mode === "clear") vm.manualDirtyLogProtect({ initiallySet: true });
  if (mode === "ring") vm.enableDirtyRing({ bytes: ringBytes, backupBitmap: false });
  if (mode === "ring with bitmap") vm.enableDirtyRing({ bytes: ringBytes, backupBitmap: true });
  if (mode === "hdbss") vm.enableHdbss();
}

export function collect(mode: ModeName, logged: Logged): Collection {
  const dirty = new Uint8Array(logged.pages);
  if (mode === "ring" || mode === "ring with bitmap") {
    const last = fromRings(logged, dirty);
    if (mode === "ring with bitmap") fromBitmap(logged, dirty);
    return { dirty, last };
  }
  if (mode === "hdbss") for (const vcpu of logged.vcpus) vcpu.harvestHdbss();
  const bits = fromBitmap(logged, dirty);
  if (mode === "clear") {
    logged.vm.clearDirtyLog(SLOT, { firstPage: 0, pages: logged.pages, bitmap: bits });
  }
  return { dirty, last: new Map() };
}

/** One get of the bitmap. DL7: it is as long as the slot, and beyond its last page no bit is set. */
export function fromBitmap({ vm, pages }: Logged, dirty: Uint8Array): BigUint64Array {
  const log = vm.getDirtyLog(SLOT);
  expect([log.pages, log.bits.length]).toEqual([pages, Math.ceil(pages / 64)]);
  const beyond = BigInt(pages % 64);
  if (beyond !== 0n) expect((log.bits.at(-1) as bigint) >> beyond, "bits behind the slot").toBe(0n);
  let count = 0;
  for (const page of log) {
    dirty[page] = 1;
    count++;
  }
  expect(log.count).toBe(count);
  return log.bits;
}

/** DL4: as many entries are reset as were harvested. DL5: each is of the slot and inside of it. */
function fromRings({ vm, vcpus, pages }: Logged, dirty: Uint8Array): Map<number, number> {
  const last = new Map<number, number>();
  let count = 0;
  for (const vcpu of vcpus) {
    for (const { slot, offset } of vcpu.dirtyRing?.harvest() ?? []) {
      if (slot !== SLOT || offset >= pages) expect.fail(`entry of slot ${slot}, page ${offset}`);
      dirty[offset] = 1;
      last.set(vcpu.id, offset);
      count++;
    }
  }
  expect(vm.resetDirtyRings(), "entries that were reset").toBe(count);
  return last;
}

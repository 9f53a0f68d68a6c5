/**
 * Suites of VMs over pKVM: every VM is on a machine of its own, whose hypervisor keeps the page table. What a test asks of the CPU is asked
 * of the machine.
 *
 *     import { notApplicable } from "../kind.ts"; // first: the suites that follow make their VMs so
 *     import "../../../vm/rows/aborts.test.ts";
 *
 *     notApplicable("why", ["part of a test's full name"]);
 */
import { beforeEach, expect, it } from "vitest";
import type { Engine, PkvmOptions, Vm, VmOptions } from "../../../src/index.ts";
import { type Frames, type MakeVm, runOver } from "../../vm/kind.ts";

/** Where the host's kernel has its pages, clear of everything that tests use; how many it has for the hypervisor. */
const KERNEL = 0xc_0000_0000;
const KERNEL_PAGES = 2048;
const DEFAULT_BITS = 40;
const GIB = 2 ** 30;

/** What a VM is asked for that is the machine's to have. */
const OF_THE_MACHINE = ["granule", "lpa2", "pa52", "tlbiRange", "fwb", "ha", "dcache", "icache"];
/** What the machine decides, and takes no wishes for; `protected` means a protected guest. */
const DECIDED = ["ipaBits", "type", "hostIpaBits", "protected"];
const PAGE_SIZES = { "4K": 2 ** 12, "16K": 2 ** 14, "64K": 2 ** 16 } as const;

/** What is different on all machines of a file. */
let features: Partial<PkvmOptions> = {};

/** All machines of this file have these features. */
export function withFeatures(options: Partial<PkvmOptions>): void {
  features = options;
}

/** Of physical addresses, so that everything has one. */
function bits({ pa, size }: Frames): number {
  return Math.ceil(Math.log2(Math.max(pa + size, KERNEL + GIB)));
}

/** In regions of at most a GiB: what is noted of a region's pages takes a power of two. */
function regions({ pa, size }: Frames): Frames[] {
  const count = Math.ceil(size / GIB);
  return Array.from({ length: count }, (_, i) => ({
    pa: pa + i * GIB,
    size: Math.min(GIB, size - i * GIB),
  }));
}

function machineOptions(options: VmOptions, frames: Frames): PkvmOptions {
  const page = PAGE_SIZES[options.granule ?? "4K"];
  const asked = Object.entries(options).filter(([name]) => OF_THE_MACHINE.includes(name));
  const hostPages = { pa: KERNEL, size: KERNEL_PAGES * page };
  const paBits = options.hostIpaBits ?? Math.max(options.ipaBits ?? DEFAULT_BITS, bits(frames));
  const generation = options.protected === true ? "newest" : "default";
  const memory = [...regions(frames), hostPages];
  return { memory, hostPages, paBits, generation, ...Object.fromEntries(asked), ...features };
}

function onMachine(engine: Engine, given: VmOptions, frames: Frames): Vm {
  const pkvm = engine.pkvm(machineOptions(given, frames));
  const kept = Object.entries(given).filter(([name]) => !DECIDED.includes(name));
  const protectedGuest = given.protected === true;
  try {
    const vm = engine.vm({ ...Object.fromEntries(kept), pkvm, protectedGuest });
    const end = vm.dispose.bind(vm);
    vm.dispose = () => {
      end();
      pkvm.dispose();
    };
    return vm;
  } catch (error) {
    pkvm.dispose();
    throw error;
  }
}

runOver(onMachine satisfies MakeVm);

// ---- tests that say what is not so here -------------------------------------------------------------------------------

/** A test or a suite in which tests are. */
interface Task {
  readonly fullName: string;
  readonly tasks?: readonly Task[];
}

const listed = new Map<string, string>();

/**
 * Tests that do not apply to pKVM, by a part of their full names, and why. They run all the same and have to fail: one that passes applies, and has
 * to leave the list.
 */
export function notApplicable(why: string, tests: readonly string[]): void {
  for (const test of tests) listed.set(test, why);
}

beforeEach(({ task }) => {
  for (const name of listed.keys())
    if (task.fullName.includes(name)) Object.assign(task, { fails: true });
});

function* tests(tasks: readonly Task[]): Generator<string, void, undefined> {
  for (const task of tasks) {
    if (task.tasks === undefined) yield task.fullName;
    else yield* tests(task.tasks);
  }
}

it("what does not apply to pKVM is a test of these suites", ({ task }) => {
  const names = [...tests(task.file.tasks)];
  const unknown = [...listed.keys()].filter((part) => !names.some((name) => name.includes(part)));
  expect(unknown).toEqual([]);
});

// @ts-check
/**
 * Hypercalls of a host that keeps to nothing. On machines whose kernel keeps records of its guests they change no guest's mappings, as
 * then records would be wrong by the host's own doing; on the hostile machine they are any.
 */
import { NOT_SUPPORTED } from "stage2";
import { generator } from "../random.mjs";
import { BLOCK_PAGES, HOSTILE, PAGES, frameOf, memoryPage } from "./scene.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {import("stage2").HypercallName} HypercallName */

const FIRST_HANDLE = 0x1000;
const HANDLES = 16;
const LOWEST_ERRNO = -4095;
const MOST_CALLS = 8;
const MOST_PAGES = 4;
/** Result of `pkvm_vm`: what kind of VM it is. */
const VM_FLAGS = 4;
const PROTECTED = 1;
const PAGE = 4096;
const READ_WRITE = 6;
/** Pages that a VM is made of. */
const VM_PARTS = 8;

/** Calls that leave mappings of guests as they are. @type {readonly HypercallName[]} */
const HARMLESS = [
  "shareHyp",
  "unshareHyp",
  "pin",
  "unpin",
  "donateHyp",
  "hypDonateHost",
  "shareFfa",
  "unshareFfa",
  "hostAbort",
  "wrprotectGuest",
  "testClearYoungGuest",
  "tlbFlushVmid",
  "relaxPermsGuest",
  "mkyoungGuest",
  "initVcpu",
  "teardownVm",
  "unreserveVm",
  "forceReclaim",
  "guestShareHost",
];

/** Calls that nobody but tests makes: they write tables and leave states alone, or share with whatever guest. */
const FOR_TESTS = /^(hostMap|setOwner|.*GuestPage)$/;

export class Strangers {
  #thread;
  #kinds;

  /** @param {import("./thread.mjs").PkvmThread} thread */
  constructor(thread) {
    this.#thread = thread;
    const names = thread.machines[HOSTILE].hypercalls.map(({ name }) => name);
    this.#kinds = names.filter((name) => !FOR_TESTS.test(name));
  }

  /** One page of a machine, by a call that is drawn. @param {Operation} op @param {HypercallName} name */
  page(op, name) {
    const frame = frameOf(op.machine, memoryPage(op.page, op.variant));
    return this.call(op.machine, name, name === "hostAbort" ? frame * PAGE : frame, 1);
  }

  /** A call with arguments that may be anything, which changes no guest's mappings. @param {Operation} op */
  stray(op) {
    const random = generator(op.seed, 1);
    const name = HARMLESS[random(HARMLESS.length)];
    const status = this.call(op.machine, name, ...this.#words(op, random));
    if (name !== "teardownVm" || status !== 0) return;
    this.#thread.violation("unexpected result", "a VM that the kernel has was torn down");
  }

  /** Some calls on the hostile machine, with a vCPU of its own loaded for a while. @param {Operation} op */
  hostile(op) {
    const random = generator(op.seed, 2);
    const on = { ...op, machine: HOSTILE };
    const handle = FIRST_HANDLE + random(HANDLES);
    this.call(HOSTILE, "vcpuPut");
    const isProtected = op.variant & 3 ? this.#load(handle) : this.#makeVm(random);
    for (let left = random(MOST_PAGES); left > 0; left--) this.#gives(on, isProtected, random);
    for (let left = random(MOST_CALLS); left >= 0; left--) this.#any(on, isProtected, random);
    this.call(HOSTILE, "vcpuPut");
    if (random(4) === 0) this.call(HOSTILE, "teardownVm", handle);
  }

  /** A hypercall: its status. Anything but a value or an errno is a violation. @param {number} machine @param {HypercallName} name @param {...number | bigint} words */
  call(machine, name, ...words) {
    const status = this.#thread.machines[machine].hypercall(name, ...words);
    this.#thread.counts("CALLS");
    if (status >= 0) this.#thread.counts("ACCEPTED");
    else if (status < LOWEST_ERRNO && status !== NOT_SUPPORTED) {
      this.#thread.violation("unexpected result", `${name} answered ${status}`);
    }
    return status;
  }

  /** Any call with any words. @param {Operation} op @param {boolean} isProtected @param {(limit: number) => number} random */
  #any(op, isProtected, random) {
    const name = this.#kinds[random(this.#kinds.length)];
    if (name === "shareGuest" || name === "donateGuest") this.#gives(op, isProtected, random);
    else this.call(HOSTILE, name, ...this.#words(op, random));
  }

  /** Loads a vCPU of a VM, if it is there: whether the VM is protected. @param {number} handle */
  #load(handle) {
    this.call(HOSTILE, "vcpuLoad", handle, 0);
    const { core, context } = this.#thread.engine;
    const known = core.pkvm_vm(this.#thread.machines[HOSTILE].handle.pointer, handle) === 0;
    return known && (context.resultNumber(VM_FLAGS) & PROTECTED) !== 0;
  }

  /** A VM of the hostile machine, out of pages that may be somebody's already: whether it is to be protected. @param {(limit: number) => number} random */
  #makeVm(random) {
    const first = frameOf(HOSTILE, random(PAGES - VM_PARTS));
    const flags = random(2);
    this.call(HOSTILE, "shareHyp", first);
    const handle = this.call(HOSTILE, "initVm", 0, first, first + 1, first + 2, 2, flags);
    if (handle >= 0) {
      this.call(HOSTILE, "initVcpu", handle, first + 4);
      this.call(HOSTILE, "vcpuLoad", handle, 0);
    }
    return flags === 1;
  }

  /** A page for the vCPU that is loaded, with pages for tables. @param {Operation} op @param {boolean} isProtected @param {(limit: number) => number} random */
  #gives(op, isProtected, random) {
    const name = isProtected ? "donateGuest" : "shareGuest";
    const list = Array.from({ length: random(5) }, () => frameOf(HOSTILE, random(PAGES)));
    const block = !isProtected && random(4) === 0;
    const page = block ? random(2) * BLOCK_PAGES : random(PAGES);
    const gfn = block ? 0 : isProtected ? random(PAGES) : op.page;
    const words = [frameOf(HOSTILE, page), gfn, block ? BLOCK_PAGES : 1, READ_WRITE];
    const machine = this.#thread.machines[HOSTILE];
    const status = machine.hypercall(name, ...words, { memcache: list });
    this.#thread.counts("CALLS");
    if (status >= 0) this.#thread.counts("ACCEPTED");
  }

  /** Four words: frames, handles, gfns, counts, or nonsense. @param {Operation} op @param {(limit: number) => number} random */
  #words(op, random) {
    return Array.from({ length: 4 }, () => this.#word(op, random));
  }

  /** @param {Operation} op @param {(limit: number) => number} random @returns {number | bigint} */
  #word(op, random) {
    const [kind, page] = [random(10), random(PAGES)];
    if (kind < 3) return frameOf(op.machine, kind === 0 ? page : memoryPage(op.page, page));
    if (kind < 5) return FIRST_HANDLE + (page % HANDLES);
    if (kind < 6) return op.page;
    if (kind < 8) return page % 3;
    if (kind < 9) return page % 2 === 0 ? BLOCK_PAGES : page;
    return (BigInt(random(2 ** 30)) << 34n) | BigInt(page);
  }
}

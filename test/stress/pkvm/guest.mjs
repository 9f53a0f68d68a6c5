// @ts-check
/** What guests do, on vCPUs of this thread: accesses whose faults are handled as a kernel does it that asks a hypervisor. */
import { Access, Fault, Prot, WalkFlag } from "stage2";
import { BLOCK, BLOCK_PAGES, MACHINES, PAGE, memoryOf, memoryPage } from "./scene.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {{ machine: number, guest: number }} Place */

/** How a fault handler walks. */
const FAULT = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;
const EPERM = -1;
const EAGAIN = -11;
const EINVAL = -22;
/** Faults of one access that were all handled: then it never ends. */
const TOO_MANY_FAULTS = 10_000;
/** How often a guest tries again where the kernel cannot know whether that ever helps. */
const PATIENCE = 8;
/** Table pages that a map may need. */
const TABLE_PAGES = 2;

export class Guest {
  #thread;
  /** @type {(import("stage2").HypMemcache | undefined)[]} */
  #caches;

  /** @param {import("./thread.mjs").PkvmThread} thread */
  constructor(thread) {
    this.#thread = thread;
    this.#caches = thread.machines.map(() => undefined);
  }

  /** An access to a page until it works, or its memory cannot be had. @param {Operation} op */
  fault(op) {
    const vcpu = this.#thread.vcpu(op);
    const access = op.variant & 2 ? Access.Write : Access.Read;
    let again = 0;
    for (let faults = 0; faults < TOO_MANY_FAULTS; faults++) {
      const result = vcpu.translate(op.page * PAGE, access);
      if (!(result instanceof Fault)) return this.checkPage(op, op.page, result);
      const status = this.handle(result, op);
      if (status === EAGAIN) again++;
      if (status === EPERM || again > PATIENCE) return this.#thread.counts("REFUSED");
    }
    this.#thread.violation("no progress", `page ${op.page} of guest ${op.guest} faults for ever`);
  }

  /** What the kernel does about a fault: its status. @param {Fault} fault @param {Operation} op */
  handle(fault, op) {
    if (fault.type === "permission") return this.relax(op);
    if (fault.type === "accessFlag") return this.makeYoung(op);
    return op.variant & 4 && !(op.variant & 8) ? this.mapBlock(op) : this.map(op);
  }

  /** @param {Operation} op */
  map(op) {
    return this.#share(op, op.page, PAGE, op.variant & 2 || op.variant & 16 ? Prot.RWX : Prot.R);
  }

  /** A block where there are some, else it is refused. @param {Operation} op */
  mapBlock(op) {
    if (MACHINES[op.machine] !== "seed") {
      const first = op.page - (op.page % BLOCK_PAGES);
      return this.#share(op, first, BLOCK, Prot.RW);
    }
    const { raw } = this.#thread.guest(op);
    const status = raw.map(0, BLOCK, memoryOf(op.machine), Prot.R, FAULT, raw.cache(undefined));
    this.allowed("a block of pages alone", status === EINVAL ? 0 : EINVAL, []);
    return this.map(op);
  }

  /** @param {Operation} op */
  relax(op) {
    const status = this.#thread.guest(op).raw.relaxPerms(op.page * PAGE, Prot.RW);
    return this.allowed("relaxPerms", status, [EAGAIN]);
  }

  /** @param {Operation} op */
  makeYoung(op) {
    return this.allowed("mkyoung", this.#thread.guest(op).raw.mkyoung(op.page * PAGE), [EAGAIN]);
  }

  /** A guest page has one of two memory pages. @param {Place} place @param {number} page @param {number} pa */
  checkPage({ machine, guest }, page, pa) {
    const found = (pa - memoryOf(machine)) / PAGE;
    if (found === memoryPage(page, 0) || found === memoryPage(page, 1)) return;
    const whose = `guest ${guest} of the ${MACHINES[machine]} machine`;
    this.#thread.violation("wrong page", `page ${page} of ${whose} is page ${found}`);
  }

  /** Passes on a status; one that is not allowed is a violation. @param {string} what @param {number} status @param {readonly number[]} others */
  allowed(what, status, others) {
    if (status < 0 && !others.includes(status)) {
      this.#thread.violation("unexpected result", `${what} answered ${status}`);
    }
    return status;
  }

  dispose() {
    for (const cache of this.#caches) cache?.dispose();
  }

  /** @param {Operation} op @param {number} page @param {number} size @param {number} prot */
  #share(op, page, size, prot) {
    const { raw } = this.#thread.guest(op);
    const pa = memoryOf(op.machine) + memoryPage(page, op.variant) * PAGE;
    const cache = raw.cache(op.variant & 32 ? this.#cache(op.machine) : undefined);
    const status = raw.map(page * PAGE, size, pa, prot, FAULT, cache);
    this.#thread.counts(status === 0 ? "MAPPED" : status === EAGAIN ? "AGAIN" : "REFUSED");
    return this.allowed("map", status, [EAGAIN, EPERM]);
  }

  /** This thread's own stock, with room for a mapping. @param {number} machine */
  #cache(machine) {
    const cache = (this.#caches[machine] ??= this.#thread.machines[machine].memcache());
    cache.topup(TABLE_PAGES);
    return cache;
  }
}

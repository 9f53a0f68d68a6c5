// @ts-check
/** One function for each kind of operation. */
import { Collector } from "./collector.mjs";
import { Guest } from "./guest.mjs";
import { Ledger } from "./ledger.mjs";
import { baseOf, pageHva, sizeOf, vmOf } from "./scene.mjs";
import { Slots } from "./slots.mjs";
import { RAM } from "../scene.mjs";

/** @typedef {import("./kinds.mjs").Operation} Operation */
/** @typedef {import("./kinds.mjs").Kind} Kind */

/** @param {import("./thread.mjs").VmThread} thread */
export function operationsOf(thread) {
  const ledger = new Ledger(thread);
  const collector = new Collector(thread, ledger);
  const slots = new Slots(thread, ledger, collector);
  const guest = new Guest(thread, collector);
  const { host } = thread;
  const vm = (/** @type {Operation} */ { region }) => thread.vm(region);

  /** @type {Record<Kind, (op: Operation) => unknown>} */
  const table = {
    load: (op) => guest.load(op),
    store: (op) => guest.store(op),
    atomic: (op) => guest.atomic(op),
    fetch: (op) => guest.fetch(op),
    "host write": (op) => guest.hostWrite(op),
    collect: ({ region, variant }) => collector.collect(vmOf(region), variant),
    harvest: ({ region }) => thread.settle(vmOf(region)),
    "punch page": (op) => host.punch(vm(op), op.page, op.page),
    "punch range": (op) => host.punch(vm(op), op.page, op.last),
    unmap: (op) => vm(op).invalidate(host.range(op.page, op.last), () => {}),
    age: (op) => vm(op).clearYoung(host.range(op.page, op.last)),
    "age and flush": (op) => vm(op).clearFlushYoung(host.range(op.page, op.last)),
    "test young": (op) => vm(op).testYoung(pageHva(op.page)),
    "log off and on": ({ region }) => slots.logOffAndOn(region),
    "log off": ({ region }) => slots.logOff(region),
    "log on": ({ region }) => slots.logOn(region),
    move: ({ region }) => slots.move(region),
    "delete and create": ({ region }) => slots.recreate(region),
    "write-protect": (op) => vm(op).wrprotectRange(rangeNow(thread, op)),
    split: (op) => vm(op).splitRange(rangeNow(thread, op)),
    look: (op) => look(thread, op),
  };
  return { table, ledger, collector, slots, guest, host };
}

/** A slot's range, where it is at the moment. @param {import("./thread.mjs").VmThread} thread @param {Operation} op */
function rangeNow(thread, { region }) {
  const home = Atomics.load(thread.board.common.home, region);
  return { ipa: baseOf(region, home), size: sizeOf(region) };
}

/** A listing without a lock. @param {import("./thread.mjs").VmThread} thread @param {Operation} op */
function look(thread, op) {
  for (const { pa } of thread.vm(op.region).stage2.leaves(rangeNow(thread, op))) {
    if (pa >= RAM.pa && pa < RAM.pa + RAM.size) continue;
    thread.violation("stale mapping", `0x${pa.toString(16)} is mapped, which is no memory`);
  }
}

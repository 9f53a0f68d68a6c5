// @ts-check
/** What has to hold at a quiet point, when every thread is at the barrier with nothing on its way: looked at by one of them. */
import { GUESTS, HOSTILE, KEPT, MACHINES, PAGE, PAGES, frameOf, memoryOf } from "./scene.mjs";

/** @typedef {import("./violations.mjs").PkvmViolation} PkvmViolation */
/** @typedef {{ ipa: number, pa: number, size: number }} Mapped */
/** @typedef {(name: PkvmViolation, words: string) => void} Found */

export class Quiet {
  #thread;
  #guest;

  /** @param {import("./thread.mjs").PkvmThread} thread @param {import("./guest.mjs").Guest} guest */
  constructor(thread, guest) {
    this.#thread = thread;
    this.#guest = guest;
  }

  check() {
    for (let machine = 0; machine < KEPT; machine++) {
      for (let guest = 0; guest < GUESTS; guest++) this.#checkRecords({ machine, guest });
    }
    this.#thread.machines.forEach((machine, number) => {
      const found = (/** @type {PkvmViolation} */ name, /** @type {string} */ words) =>
        this.#thread.violation(name, `${words} of the ${MACHINES[number]} machine`);
      checkPages(machine, number, found);
    });
  }

  /** Everything of the hostile machine ends, and all its pages are the host's again: else it is full one day. */
  startAnew() {
    for (const words of emptied(this.#thread.machines[HOSTILE], HOSTILE)) {
      this.#thread.violation("page owner", `${words}, although all was taken back`);
    }
  }

  /** The kernel's records are the guest's leaves, and each is where it belongs. @param {{ machine: number, guest: number }} place */
  #checkRecords(place) {
    const table = this.#thread.guest(place);
    const records = new Set([...table.mappings()].map(text));
    const leaves = [...table.leaves()];
    for (const { ipa, pa } of leaves) this.#guest.checkPage(place, ipa / PAGE, pa);
    const there = new Set(leaves.map(text));
    const whose = `guest ${place.guest} of the ${MACHINES[place.machine]} machine`;
    for (const record of records) {
      if (!there.has(record))
        this.#thread.violation("record without leaf", `${record} of ${whose}`);
    }
    for (const leaf of there) {
      if (!records.has(leaf)) this.#thread.violation("leaf without record", `${leaf} of ${whose}`);
    }
  }
}

/** @param {Mapped} mapping */
function text({ ipa, pa, size }) {
  return `0x${ipa.toString(16)} -> 0x${pa.toString(16)} (${size / PAGE} pages)`;
}

/** Each page's count is the number of leaves, and it has one owner. @param {import("stage2").Pkvm} machine @param {number} number @param {Found} found */
function checkPages(machine, number, found) {
  const [lent, given] = [new Uint32Array(PAGES), new Uint32Array(PAGES)];
  let admitted = 0;
  for (const vm of machine.vms()) {
    admitted += vm.admitted;
    const counts = vm.protectedGuest ? given : lent;
    for (const { pa, size } of vm.stage2.leaves()) {
      const first = (pa - memoryOf(number)) / PAGE;
      for (let page = first; page < first + size / PAGE; page++) counts[page]++;
    }
  }
  for (let page = 0; page < PAGES; page++) {
    const state = machine.pageState(memoryOf(number) + page * PAGE);
    if (state.guestMappings !== lent[page]) {
      found("share count", `page ${page}: ${state.guestMappings}, and ${lent[page]} leaves`);
    }
    const wrong = wrongOwner(state, lent[page], given[page]);
    if (wrong !== undefined) found("page owner", `page ${page}: ${wrong}`);
  }
  const inUse = pagesInUse(machine);
  if (inUse !== admitted) found("admitted pages", `${inUse} in use, ${admitted} admitted`);
}

/** What is wrong with who owns a page, given how many guests' leaves map what was lent, and what was given to them. @param {import("stage2").PkvmPageState} state @param {number} lent @param {number} given */
function wrongOwner({ host, hyp, references }, lent, given) {
  const all = `host ${host}, hyp ${hyp}, ${lent} leaves that borrow, ${given} that own`;
  if (host === "OWNED") {
    return hyp === "NOPAGE" && lent + given + references === 0 ? undefined : all;
  }
  if (host === "SHARED_OWNED") {
    const right = hyp === "SHARED_BORROWED" ? lent === 0 : hyp === "NOPAGE" && references === 0;
    return right && given === 0 ? undefined : all;
  }
  if (host === "SHARED_BORROWED") {
    return hyp === "NOPAGE" && lent === 0 && given === 1 ? undefined : all;
  }
  const owners = (hyp === "OWNED" ? 1 : 0) + given;
  return owners === 1 && lent === 0 && hyp !== "SHARED_BORROWED" ? undefined : all;
}

/** Pages that VMs are made of. @param {import("stage2").Pkvm} machine */
function pagesInUse(machine) {
  let pages = 0;
  for (const { host, hyp, references, size } of machine.ranges()) {
    if (host === "NOPAGE" && hyp === "OWNED" && references > 0) pages += size / PAGE;
  }
  return pages;
}

/** Ends what strangers have left, then names pages that are not the host's alone. @param {import("stage2").Pkvm} machine @param {number} number */
export function emptied(machine, number) {
  for (const { handle } of machine.vms()) machine.hypercall("teardownVm", handle);
  /** @type {string[]} */
  const left = machine.vms().map(({ handle }) => `VM ${handle} is still there`);
  for (const { pa, size } of [...machine.ranges()]) {
    for (let at = pa; at < pa + size; at += PAGE) {
      takeBack(machine, at);
      const { host, hyp } = machine.pageState(at);
      if (host !== "OWNED" || hyp !== "NOPAGE") {
        left.push(`page ${at / PAGE - frameOf(number, 0)} is ${host} to the host, ${hyp} to hyp`);
      }
    }
  }
  return left;
}

/** @param {import("stage2").Pkvm} machine @param {number} pa */
function takeBack(machine, pa) {
  const { host, hyp, references } = machine.pageState(pa);
  const pfn = pa / PAGE;
  if (hyp === "SHARED_BORROWED") {
    for (let left = references; left > 0; left--) machine.hypercall("unpin", pfn, 1);
    machine.hypercall("unshareHyp", pfn);
  } else if (hyp === "OWNED") machine.hypercall("hypDonateHost", pfn, 1);
  else if (host === "SHARED_OWNED") machine.hypercall("unshareFfa", pfn, 1);
}

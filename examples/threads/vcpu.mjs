// @ts-check
/**
 * A worker that is a vCPU: it stores to its part of the guest's memory, a window that moves, and serves its own faults.
 */
import { parentPort, workerData } from "node:worker_threads";
import { Engine, Fault, Prot, WalkFlag } from "stage2";
import { PAGE, RAM, WINDOW, sleep } from "./guest.mjs";

const { from, pages, rounds } = workerData;
const engine = await Engine.attach(workerData.engine);
const s2 = engine.attachStage2(workerData.s2);
const vcpu = engine.vcpu(s2);
parentPort?.postMessage({ thread: engine.thread });

let [faults, again] = [0, 0];
for (let round = 0; round < rounds; round++) {
  const first = Math.floor((round * (pages - WINDOW)) / (rounds - 1));
  for (let page = first; page < first + WINDOW; page++) store(RAM.ipa + (from + page) * PAGE);
  sleep(5); // so that there is something to see: in a section or a bracket nobody should sleep
}
vcpu.dispose();
engine.dispose();
parentPort?.postMessage({ faults, again });

/** Adds 1 to the word at `ipa`; a fault is served, then the instruction is tried again. @param {number} ipa */
function store(ipa) {
  while (true) {
    const old = vcpu.atomic("add", ipa, 4, 1n);
    if (!(old instanceof Fault)) return;
    faults++;
    if (serve(old) === "again") again++; // another vCPU was at this entry: it may be right by now
  }
}

/** Maps the page that is missing, beside the other vCPUs: SHARED, under the read side of the lock. @param {Fault} fault */
function serve(fault) {
  if (fault.type !== "translation") throw new Error(`${fault}`);
  const ipa = (fault.ipa ?? 0) - ((fault.ipa ?? 0) % PAGE);
  return s2.map({
    ipa,
    size: PAGE,
    pa: RAM.pa + (ipa - RAM.ipa),
    prot: Prot.RW,
    flags: WalkFlag.SHARED | WalkFlag.HANDLE_FAULT,
  });
}

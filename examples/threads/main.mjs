// @ts-check
/**
 * Three workers run a guest's vCPUs on one page table, and fault its memory in. This thread ages that memory beside them,
 * without a lock, and shows which parts were used since it last looked. One worker is ended in the middle of its work.
 *
 *     npm install && npm run build && node examples/threads/main.mjs
 */
import { strictEqual } from "node:assert";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { Engine } from "stage2";
import { PAGE, RAM } from "./guest.mjs";

const VCPUS = 3;
const ROUNDS = 60;
/** Pages that one character of the picture stands for. */
const PIECE = 16;

const engine = await Engine.create({ guestRam: { pa: RAM.pa, size: RAM.size } });
const s2 = engine.stage2({ locking: true, locklessAging: true });

const pages = RAM.size / PAGE / VCPUS;
const workers = Array.from({ length: VCPUS }, (_, number) => {
  const part = { from: number * pages, pages, rounds: ROUNDS };
  const workerData = { engine: engine.handle, s2: s2.handle, ...part };
  return new Worker(new URL("vcpu.mjs", import.meta.url), { workerData });
});
const threads = await Promise.all(
  workers.map(async (one) => (await once(one, "message"))[0].thread),
);

const ager = setInterval(() => console.log(picture()), 40);
const unlucky = setTimeout(() => workers[VCPUS - 1]?.terminate(), 150);
const results = await Promise.all(workers.map((worker, i) => resultOf(worker, threads[i])));
clearInterval(ager);
clearTimeout(unlucky);

results.forEach((result, i) => {
  if (result === undefined) return console.log(`thread ${threads[i]} did not finish`);
  console.log(`thread ${threads[i]} served ${result.faults} faults, ${result.again} of them twice`);
});

for (let page = 0; page < 2 * pages; page++) {
  strictEqual(wordOf(page) > 0, s2.lookup(RAM.ipa + page * PAGE) !== undefined); // no store was lost
}
s2.dispose();
engine.quiesce();
strictEqual(engine.memoryUsage().used, 0); // and no page
engine.dispose();

/** What was used since the last look: `#`; what was not: `.`; what is not mapped: a space. */
function picture() {
  let line = "";
  for (let ipa = RAM.ipa; ipa < RAM.ipa + RAM.size; ipa += PIECE * PAGE) {
    const piece = { ipa, size: PIECE * PAGE };
    const young = s2.testClearYoung(piece);
    if (young) s2.tlbFlushRange(piece); // else a TLB entry would hide the next use
    line += young ? "#" : s2.leaves(piece).next().done ? " " : ".";
  }
  return `|${line}|`;
}

/**
 * The result of a worker. One that was ended has none; it still has its slot, its vCPU, and what it was in the middle of:
 * others would wait for it.
 * @param {Worker} worker @param {number} thread
 */
async function resultOf(worker, thread) {
  /** @type {{ faults: number, again: number } | undefined} */
  let result;
  worker.once("message", (message) => (result = message));
  await once(worker, "exit");
  if (result === undefined) console.log(`thread ${thread} ended in`, engine.reclaimThread(thread));
  return result;
}

/** How often a vCPU stored to a page. @param {number} page */
function wordOf(page) {
  const bytes = engine.memoryMap.bytes(RAM.pa + page * PAGE, 4);
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

// @ts-check
/**
 * A guest moves from one machine to another while it runs: all its pages first, then round by round what it has written to meanwhile,
 * as the dirty log tells. When little is left it stops for the last of them, and goes on over there.
 *
 *     npm install && npm run build && node examples/vm/migrate.mjs
 */
import { strictEqual } from "node:assert";
import { Engine } from "stage2";
import { CLOCK, PAGE, RAM } from "./guest.mjs";
import { Machine } from "./machine.mjs";

const BYTES = 16 << 20;
const guestRam = [0x8000_0000, 0xa000_0000].map((pa) => ({ pa, size: BYTES }));
const engine = await Engine.create({ guestRam });
const [here, there] = guestRam.map((bank) => new Machine(engine, bank));
const WORDS = RAM.size / 4;

here.burn("stage 2 at work ");
here.guest.run(4096);
strictEqual(here.guest.load(CLOCK), 4096);
console.log(`faults     ${told(here)}`);
console.log(here.vm.dump());

here.log(true);
here.copyTo(there, Array(RAM.size / PAGE).keys());
console.log(`round 0    ${RAM.size / PAGE} pages`);
for (let round = 1, left = Infinity; left > 8; round++) {
  here.guest.run(2048 >> (2 * round), WORDS >> (2 * round)); // it calms down
  const log = here.vm.getDirtyLog(RAM.slot);
  here.copyTo(there, log);
  left = log.count;
  console.log(`round ${round}    ${left} pages`);
}
console.log(here.vm.dump({ ipa: RAM.ipa, size: 16 * PAGE }));

there.vcpu.x.set(here.vcpu.x);
there.vcpu.pc = here.vcpu.pc;
const { steps } = here.guest;
there.guest.run(4096);
console.log(`arrived    after ${steps} steps, printed "${here.printed}", then "${there.printed}"`);
console.log(`faults     ${told(there)}`);

strictEqual(there.guest.steps, steps + 4096);
strictEqual(total(there.vm.readGuest(RAM.ipa, RAM.size)), there.guest.steps); // no count was lost
strictEqual(total(here.vm.readGuest(RAM.ipa, RAM.size)), steps);
for (const machine of [here, there]) machine.dispose();
strictEqual(engine.memoryUsage().used, 0);
engine.dispose();

/** @param {Machine} machine */
function told({ vm }) {
  const { aborts, maps, relaxes, blocks, mmio, dirtied } = vm.statistics;
  return `${aborts}: ${maps} maps (${blocks} blocks), ${relaxes} relaxed, ${mmio} of devices; ${dirtied} pages dirty`;
}

/** @param {Uint8Array} bytes */
function total(bytes) {
  return new Uint32Array(bytes.buffer).reduce((sum, word) => sum + word, 0);
}

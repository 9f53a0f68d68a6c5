// @ts-check
/**
 * Boots the guest, and tells what happened. Fails if anything is not as it must be.
 *
 *     npm install && npm run build && node examples/machine/boot.mjs
 */
import { deepStrictEqual } from "node:assert";
import { fileURLToPath } from "node:url";
import { Engine } from "stage2";
import { assemble } from "./assemble.mjs";
import { Cpu, hex } from "./cpu.mjs";
import { CALL, DATA, MESSAGE, PAGES, PROGRAM, RAM, WINDOW } from "./guest.mjs";
import { HOST_RAM, Hypervisor, PAGE, RAM_SIZE } from "./hypervisor.mjs";

/** What must have come out: the guest counted {@link PAGES} pages twice, and repaired one. */
export const EXPECTED = {
  verdict: CALL.DONE,
  output: `${MESSAGE}\n`,
  counter: 8n,
  sum: 30n, // 1 + 2 + 3 + 4, then 2 + 4 + 6 + 8
  pages: [2n, 4n, 6n, 8n, 0x1234n],
  repaired: BigInt(WINDOW + PAGES * PAGE),
};

/** Faults in plain words. @type {Record<string, string>} */
const WRONG = {
  translation: "is not mapped",
  permission: "does not allow it",
  accessFlag: "has no access flag",
};

/** Runs a program to its end. */
export async function boot(program = PROGRAM) {
  const engine = await Engine.create({ guestRam: { pa: HOST_RAM, size: RAM_SIZE } });
  try {
    const s2 = engine.stage2({ ha: false }); // no access flag by hardware: its faults are to be seen
    const hypervisor = new Hypervisor(engine, s2, assemble(program, RAM).image);
    const cpu = new Cpu(engine.vcpu(s2), hypervisor);
    cpu.pc = BigInt(RAM);
    cpu.run();

    const { story, verdict, output } = hypervisor;
    const result = {
      verdict,
      output,
      counter: read(engine, s2, DATA),
      sum: read(engine, s2, DATA + 8),
      pages: Array.from({ length: PAGES + 1 }, (_, i) => read(engine, s2, WINDOW + i * PAGE)),
      repaired: cpu.x[19] & 0xf_ffff_ffff_f000n, // PAR_EL1: the guest physical address
    };
    return { story, result, instructions: cpu.retired, statistics: cpu.vcpu.statistics };
  } finally {
    engine.dispose();
  }
}

/** @typedef {import("stage2").Stage2} Stage2 */

/** A word of guest memory, as the host sees it. @param {Engine} engine @param {Stage2} s2 @param {number} ipa */
function read(engine, s2, ipa) {
  const pa = s2.lookup(ipa);
  if (pa === undefined) return undefined;
  const { buffer, byteOffset } = engine.memoryMap.bytes(pa, 8);
  return new DataView(buffer).getBigUint64(byteOffset, true);
}

/** The run as text. @param {Awaited<ReturnType<typeof boot>>} run */
export function report({ story, result, instructions, statistics }) {
  const rows = story.map(({ pc, fault, done }) => {
    const [access, stop] = fault ? inWords(fault) : ["call HVC", ""];
    return [hex(pc), access, stop, done];
  });
  rows.unshift(["at", "access", "stopped by", "hypervisor"]);
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const padded = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column])));

  const { tlb, descriptorReads } = statistics;
  const sum = (/** @type {object} */ counts) => Object.values(counts).reduce((a, b) => a + b, 0);
  const walks = `${sum(descriptorReads.stage1)} of stage 1, ${sum(descriptorReads.stage2)} of stage 2`;
  /** @type {Map<string, number>} */
  const kinds = new Map();
  for (const { fault } of story) {
    if (!fault) continue;
    const kind = `${fault.type} (stage ${fault.stage})`;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  const faults = [...kinds].map(([kind, count]) => `${count} ${kind}`).join(", ");
  return [
    ...padded.map((row) => row.join("  ").trimEnd()),
    "",
    `the guest printed  ${result.output.trimEnd()}`,
    `instructions       ${instructions}`,
    `TLB                ${tlb.hits} hits, ${tlb.misses} misses`,
    `descriptors read   ${walks}`,
    `faults             ${faults}`,
  ].join("\n");
}

/** A fault as two cells: the access, and what stopped it. @param {import("stage2").Fault} fault */
function inWords({ type, stage, level, fetch, write, s1ptw, va, ipa }) {
  const access = `${fetch ? "run" : write ? "write" : "read"} ${hex(va)}`;
  const page = `${s1ptw ? "table " : ""}${hex(ipa ?? va)}`;
  return [access, `stage ${stage}, level ${level}: ${page} ${WRONG[type] ?? type}`];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const run = await boot();
  console.log(report(run));
  deepStrictEqual(run.result, EXPECTED);
}

// @ts-check
/**
 * Boots the guest, and tells what happened. Exit code 1 if anything is not as it must be.
 *
 *     npm install && npm run build && node examples/machine/boot.mjs
 */
import { fileURLToPath } from "node:url";
import { Engine } from "stage2";
import { assemble } from "./assemble.mjs";
import { Cpu } from "./cpu.mjs";
import { CALL, DATA, MESSAGE, PAGES, PROGRAM, RAM, WINDOW } from "./guest.mjs";
import { HOST_RAM, Hypervisor, RAM_SIZE } from "./hypervisor.mjs";

/**
 * Runs a program to its end.
 *
 * @param {string} [program] the guest, as text
 */
export async function boot(program = PROGRAM) {
  const engine = await Engine.create({ guestRam: { pa: HOST_RAM, size: RAM_SIZE } });
  try {
    const s2 = engine.stage2({ ipaBits: 40, ha: false }); // no hardware access flag: its faults are to be seen
    const hypervisor = new Hypervisor(engine, s2, assemble(program, RAM).image);
    const cpu = new Cpu(engine.vcpu(s2), hypervisor);
    cpu.pc = BigInt(RAM);
    cpu.run();

    /** A word of the guest's memory. @param {number} ipa */
    const word = (ipa) => {
      const pa = s2.lookup(ipa);
      if (pa === undefined) return undefined;
      const { buffer, byteOffset } = engine.memoryMap.bytes(pa, 8);
      return new DataView(buffer).getBigUint64(byteOffset, true);
    };
    return {
      story: hypervisor.story,
      output: hypervisor.output,
      verdict: hypervisor.verdict,
      counter: word(DATA),
      sum: word(DATA + 8),
      pages: Array.from({ length: PAGES + 1 }, (_, i) => word(WINDOW + 4096 * i)),
      /** What AT said about the repaired page: its guest physical address. */
      par: cpu.x[19] & 0xf_ffff_ffff_f000n,
      instructions: cpu.retired,
      statistics: cpu.vcpu.statistics,
    };
  } finally {
    engine.dispose();
  }
}

/** What must have come out: the guest counted eight pages twice. @param {Awaited<ReturnType<typeof boot>>} run */
export function differences(run) {
  const numbers = Array.from({ length: PAGES }, (_, i) => BigInt(i + 1));
  /** @type {[string, unknown, unknown][]} */
  const checks = [
    ["last call", run.verdict, CALL.DONE],
    ["UART", run.output, `${MESSAGE}\n`],
    ["counter", run.counter, BigInt(2 * PAGES)],
    ["pages", `${run.pages}`, `${[...numbers.map((n) => 2n * n), 0x1234n]}`],
    ["sum", run.sum, numbers.reduce((sum, n) => sum + n + 2n * n, 0n)],
    ["PAR_EL1", run.par, BigInt(WINDOW + 4096 * PAGES)],
  ];
  return checks
    .filter(([, found, expected]) => found !== expected)
    .map(([name, found, expected]) => `${name}: ${found}, not ${expected}`);
}

/** The run as text. @param {Awaited<ReturnType<typeof boot>>} run */
export function report({ story, output, instructions, statistics }) {
  const header = ["instruction", "access", "fault", "hypervisor"];
  const widths = header.map((_, column) =>
    Math.max(...[header, ...story].map((row) => row[column].length)),
  );
  const lines = [header, ...story].map((row) =>
    row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd(),
  );
  /** @type {Record<string, number>} */
  const kinds = {};
  for (const [, , fault] of story) {
    const kind = fault.replace(/, level.*/, "");
    if (kind) kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  const { tlb, descriptorReads } = statistics;
  const reads = ({ ...levels }) => Object.values(levels).reduce((sum, count) => sum + count, 0);
  return [
    ...lines,
    "",
    `UART:         ${output.trimEnd()}`,
    `instructions: ${instructions}`,
    `TLB:          ${tlb.hits} hits, ${tlb.misses} misses`,
    `descriptors:  ${reads(descriptorReads.stage1)} read of stage 1, ${reads(descriptorReads.stage2)} of stage 2`,
    `faults:       ${Object.entries(kinds).map(([kind, count]) => `${count} ${kind}`).join(", ")}`,
  ].join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const run = await boot();
  console.log(report(run));
  const wrong = differences(run);
  console.log(wrong.length === 0 ? "\nAll as it must be." : `\nWrong: ${wrong.join("; ")}`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
}

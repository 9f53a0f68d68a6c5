import { it } from "vitest";
import { Engine, MemslotFlag } from "../../../src/index.ts";
import { monitorEventLoopDelay } from "node:perf_hooks";
const GIB = 2 ** 30;
const cpu = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; };
for (const [name, host, pages] of [["blocks", 2 ** 21, 0], ["pages", 4096, 1]] as const)
it(`64 GiB ${name}`, async () => {
  const engine = await Engine.create({ maxTablePages: 300_000, maxObjects: 32 });
  const vm = engine.vm({ memory: { resolve: ({ hva }) => ({ pa: 2 ** 38 + (hva - 2 ** 40), writable: true, hostSize: host }) } });
  vm.eagerSplitChunk = 2 ** 21;
  const real = vm.place.core;
  const times: Record<string, number[]> = {};
  const wrapped: Record<string, unknown> = {};
  for (const [k, f] of Object.entries(real)) wrapped[k] = (...args: never[]) => { const t = cpu(); try { return (f as (...a: never[]) => unknown)(...args); } finally { (times[k] ??= []).push(cpu() - t); } };
  (vm.place as { core: unknown }).core = wrapped;
  const slot = { slot: 0, ipa: 0, size: 64 * GIB, hva: 2 ** 40 };
  vm.setMemslot(slot);
  const core = engine.context.core;
  const pgt = core.vm_describe(vm.pointer);
  if (pages) for (let g = 0; g < 64; g++) core.s2_map(pgt, g * GIB, GIB, 2 ** 38 + g * GIB, 6, 128, 1);
  else for (let g = 0; g < 64; g++) for (let b = 0; b < 512; b++) core.s2_map(pgt, g * GIB + b * 2 ** 21, 2 ** 21, 2 ** 38 + g * GIB + b * 2 ** 21, 6, 0, 1);
  console.log(name, vm.stage2.memoryUsage());
  async function measured(what: string, work: () => Promise<unknown>) {
    let worst = 0, last = cpu(), stop = false;
    const beat = () => { const now = cpu(); worst = Math.max(worst, now - last); last = now; if (!stop) setImmediate(beat); };
    setImmediate(beat);
    const t = cpu();
    await work();
    stop = true;
    worst = Math.max(worst, cpu() - last);
    for (const [k, l] of Object.entries(times)) { const m = l.reduce((a, b) => Math.max(a, b), 0); if (m > 1) console.log("   ", k, l.length, "sum", l.reduce((a, b) => a + b).toFixed(1), "max", m.toFixed(2), "at", l.indexOf(m), "over4:", l.filter((x) => x > 4).length); delete times[k]; }
    console.log(what, "total", (cpu() - t).toFixed(1), "worst", worst.toFixed(1));
  }
  await measured("log on", () => vm.setMemslotAsync({ ...slot, flags: MemslotFlag.LOG_DIRTY_PAGES }));
  for (let p = 0; p < 16 * 2 ** 20; p += 1) if (p % 8 == 0 && p < 2 ** 22) vm.markDirty(p * 4096);
  await measured("get log", () => vm.getDirtyLogAsync(0));
  await measured("get view", () => vm.getDirtyLogAsync(0, { view: true }));
  await measured("flush", () => vm.flushAllAsync());
  await measured("delete", () => vm.setMemslotAsync({ ...slot, size: 0 }));
  vm.dispose();
  engine.dispose();
}, 200_000);

import { describe, expect, it } from "vitest";
import { agentModule } from "../../../src/agents/build.ts";
import { Coroutine } from "../../../src/agents/coroutine.ts";
import { WAIT_ANSWER, mayWrite } from "../../../src/agents/stop.ts";
import { loadCore } from "../../../src/_load.ts";
import { ACCESS } from "../../../src/instrument/step.ts";

const BASE = 65536;
const PAGES = 24;
const IPA = 0x4000_0000;
const PA = 0x8_0000_0000;
const R = 4;
const W = 2;

/** Two agents on a page table with one read-only page. */
function bed() {
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
  const home = loadCore("threads", memory);
  home.engine_init(BASE, (PAGES - 1) * BASE, 2 ** 30, 32, 4, 16, 64, 0);
  expect(home.engine_attach(BASE)).toBe(0);
  const module = agentModule();
  let entry = 0;
  const agents = [0, 1].map((number) => {
    const stopsAt = (address: number): boolean => Math.abs(address - entry) < 8;
    return new Coroutine({ module, memory, number, stopsAt });
  }) as [Coroutine, Coroutine];
  for (const { core } of agents) expect(core.engine_attach(BASE)).toBeGreaterThan(0);
  const pgt = home.s2_init(12, 40, 0, 0);
  expect(home.s2_map(pgt, IPA, 4096, PA, R, 0, 1)).toBe(0);
  home.s2_test_clear_young(pgt, IPA, 4096, 1);
  entry = home.s2_entry(pgt, IPA) >>> 0;
  return { agents, pgt, read: () => new DataView(memory.buffer).getBigUint64(entry, true) };
}

describe("two calls in one thread", () => {
  it("go on from where they were left: both rights are there, and both flags", () => {
    const { agents, pgt, read } = bed();
    const [a, b] = agents;
    a.start(() => a.core.s2_relax_perms(pgt, IPA, W));
    expect(a.stop).toMatchObject({ kind: ACCESS.LOAD, bytes: 8, atomic: true });
    while (a.stop !== undefined && !mayWrite(a.stop.kind)) a.advance();
    expect(a.stop?.kind).toBe(ACCESS.COMPARE_EXCHANGE);

    b.start(() => b.core.s2_mkyoung(pgt, IPA));
    while (b.busy) b.advance();
    expect(b.result).toBe(1);
    const young = read();

    a.advance(); // loses: the entry is no longer what it decided on
    expect(read()).toBe(young);
    while (a.busy) a.advance();
    expect(a.result).toBe(0);
    expect(read()).toBe(young | (1n << 7n));
  });

  it("one that is abandoned does nothing more, and its agent can start anew", () => {
    const { agents, pgt, read } = bed();
    const [a] = agents;
    const before = read();
    a.start(() => a.core.s2_mkyoung(pgt, IPA));
    a.abandon();
    expect([a.busy, a.stop, read()]).toEqual([false, undefined, before]);
    expect(() => a.advance()).toThrow("in no call");
    a.start(() => a.core.s2_mkyoung(pgt, IPA));
    expect(() => a.start(() => 0)).toThrow("in a call already");
    while (a.busy) a.advance();
    expect(read()).toBe(before | (1n << 10n));
  });

  it("outside of a call that was started the core runs through", () => {
    const { agents, pgt, read } = bed();
    expect(agents[0].core.s2_mkyoung(pgt, IPA)).toBe(1);
    expect(read() & (1n << 10n)).not.toBe(0n);
  });

  it("a writer that meets a writer stops to wait, and its answer decides", () => {
    const { agents, pgt } = bed();
    const [a, b] = agents;
    for (const { core } of agents) {
      core.engine_share();
      core.thread_configure(1, 0, 2);
    }
    expect(a.core.lock_write(pgt)).toBe(0);
    b.start(() => b.core.lock_write(pgt));
    expect(b.stop).toMatchObject({ kind: ACCESS.WAIT, bytes: 4 });
    expect(b.stop?.timeout).toBeGreaterThan(0n);
    for (let naps = 0; b.busy && naps < 1000; naps++) b.advance(WAIT_ANSWER.TIMED_OUT);
    expect(b.result).toBe(-110);
    expect(a.core.unlock_write(pgt)).toBe(0);
  });

  it("there is room for the frames of seven", () => {
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
    const make = (number: number) => new Coroutine({ module: agentModule(), memory, number });
    expect(() => make(6)).not.toThrow();
    expect(() => make(7)).toThrow("no place");
    expect(() => make(-1)).toThrow("no place");
  });
});

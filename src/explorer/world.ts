/**
 * The engine that a litmus test runs on: a small one in a memory that never grows, so that it can be put back quickly. Every
 * agent is a thread of its own; thread 0 is the test's own, on the release core, which no scheduler sees.
 *
 *   0        64 KiB                 base
 *   ┌────────┬──────────────────────┬──────────────────────────────────────────┐
 *   │ frames │ guest memory, if any │ engine: header, threads, ..., table pages │
 *   └────────┴──────────────────────┴──────────────────────────────────────────┘
 */
import type { Core } from "../_abi.ts";
import { type Bank, addBanks, checkedBanks, endOfBanks } from "../_guest_ram.ts";
import { join } from "../_join.ts";
import { compileCoreSync, loadCore } from "../_load.ts";
import { UNIT, measuringCore } from "../_region.ts";
import { Engine } from "../engine.ts";
import { check } from "../errors.ts";
import type { Stage2 } from "../stage2.ts";
import { Labels } from "./labels.ts";
import type { Agent, Lab, Litmus, LitmusOptions, Run } from "./litmus.ts";
import { type Imports, Scene } from "./scene.ts";

const WASM_PAGE = 65536;
const TABLES_AT = 2 ** 30;
const SHAPE = { objects: 16, events: 64 } as const;
const TABLE_PAGES = 32;
/** Agents sleep at once, and lose patience after a few naps. */
const PATIENCE = { blocks: 1, spins: 0, ms: 2 } as const;

/** A binary that agents run on. */
export interface Build {
  readonly module: WebAssembly.Module;
  readonly imports?: Imports;
}

export class World {
  readonly litmus: Litmus;
  readonly scene: Scene;
  readonly labels: Labels;
  readonly agents: Readonly<Record<string, Agent>>;
  readonly lab: Lab;
  readonly #start: unknown;

  constructor(litmus: Litmus, build: Build) {
    this.litmus = litmus;
    const place = layOut(litmus.options ?? {}, litmus.agents.length + 1);
    const { memory, base, home, banks } = place;
    this.scene = new Scene({ ...build, memory, names: litmus.agents });
    this.labels = new Labels(home, base, litmus.agents.length + 1, SHAPE, banks);
    this.agents = this.#attach(build.module, base);
    this.lab = new Laboratory(this.scene, home, this.labels);
    this.#start = litmus.setup(this.agents, this.lab);
    this.scene.remember();
  }

  /** New programs for a schedule. */
  run(): Run {
    return this.litmus.run(this.#start, this.agents, this.lab);
  }

  #attach(module: WebAssembly.Module, base: number): Record<string, Agent> {
    const { memory, names, coroutines } = this.scene;
    let id: string | undefined;
    const agents = names.map((name, index): [string, Agent] => {
      const core = (coroutines[index] as Scene["coroutines"][number]).core;
      join(core, base);
      const engine = Engine.over(core, memory, module, base, id);
      id ??= engine.context.id;
      core.engine_share();
      core.thread_configure(PATIENCE.blocks, PATIENCE.spins, PATIENCE.ms);
      return [name, { name, engine, core, thread: core.thread_number() }];
    });
    return Object.fromEntries(agents);
  }
}

interface Place {
  readonly memory: WebAssembly.Memory;
  readonly base: number;
  readonly home: Core;
  readonly banks: readonly Bank[];
}

function layOut(options: LitmusOptions, threads: number): Place {
  const units = options.tablePages ?? TABLE_PAGES;
  const banks = checkedBanks(options.guestRam, false);
  const base = endOfBanks(banks);
  const measure = measuringCore("threads", compileCoreSync("threads"));
  const overhead = measure.engine_overhead(units, threads, SHAPE.objects, SHAPE.events);
  const pages = Math.ceil((base + overhead + units * UNIT) / WASM_PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const home = loadCore("threads", memory);
  const bytes = pages * WASM_PAGE - base;
  const { objects, events } = SHAPE;
  const status = home.engine_init(base, bytes, TABLES_AT, units, threads, objects, events, 0);
  check(status, "litmus world", { units, threads });
  join(home, base);
  addBanks(home, banks);
  return { memory, base, home, banks };
}

class Laboratory implements Lab {
  readonly memory: WebAssembly.Memory;
  readonly #scene: Scene;
  readonly #home: Core;
  readonly #labels: Labels;
  readonly #view: DataView;

  constructor(scene: Scene, home: Core, labels: Labels) {
    this.memory = scene.memory;
    this.#scene = scene;
    this.#home = home;
    this.#labels = labels;
    this.#view = new DataView(scene.memory.buffer);
  }

  name(address: number, bytes: number, label: string): void {
    this.#labels.name(address, bytes, label);
  }

  entry({ pointer }: Pick<Stage2, "pointer">, ipa: number): number {
    return this.#home.s2_entry(pointer, ipa) >>> 0;
  }

  pointer(pa: number): number {
    return this.#labels.pointer(pa);
  }

  read64(pointer: number): bigint {
    this.#scene.looksAt(pointer, 8);
    return this.#view.getBigUint64(pointer, true);
  }

  read32(pointer: number): number {
    this.#scene.looksAt(pointer, 4);
    return this.#view.getUint32(pointer, true);
  }

  write64(pointer: number, value: bigint): void {
    this.#scene.changed(pointer, 8);
    this.#view.setBigUint64(pointer, value, true);
  }

  write32(pointer: number, value: number): void {
    this.#scene.changed(pointer, 4);
    this.#view.setUint32(pointer, value, true);
  }
}

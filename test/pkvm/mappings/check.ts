/** A tree from outside: its records, and whether its nodes are as assembly/pkvm/mappings/ says. */
import type { Exports, Instance } from "./build.ts";

export interface Record {
  readonly gfn: number;
  readonly pfn: number;
  readonly order: number;
}

/** The record under the cursor. */
export function found(core: Exports): Record {
  return { gfn: Number(core.gfn()), pfn: Number(core.pfn()), order: core.order() };
}

/** All records from a gfn on. */
export function* recordsFrom(core: Exports, gfn: number): Generator<Record> {
  for (let more = core.seek(BigInt(gfn)); more !== 0; more = core.next()) yield found(core);
}

/** Looks at every node of the tree in use, from the root down, level by level; throws at the first that is not as it must be. */
export function check(instance: Instance): void {
  const { core, memory } = instance;
  const view = new DataView(memory.buffer);
  let nodes = core.height() === 0 ? [] : [core.root()];
  let all = 0;
  for (let level = core.height() - 1; level >= 0; level--) {
    all += nodes.length;
    checkLevel(instance, view, nodes);
    const entries = nodes.flatMap((node) => entriesOf(view, node));
    if (level === 0) checkLeaves(core, nodes, entries.length);
    else nodes = entries.map((entry) => childAt(view, entry));
    if (nodes.length === 1 && level > 0) fail("a root with one child", core.root());
  }
  if ((core.height() === 0) !== (core.root() === 0)) fail("height", core.height());
  if (core.height() === 0 && core.finger() !== 0) fail("finger", core.finger());
  if ((core.height() === 0) !== (core.records() === 0)) fail("records", core.records());
  if (all + core.spares() !== core.pages()) fail("pages", core.pages());
}

function checkLeaves(core: Exports, leaves: readonly number[], records: number): void {
  if (records !== core.records()) fail("records", core.records());
  if (core.finger() !== 0 && !leaves.includes(core.finger())) fail("finger", core.finger());
}

/** What separates a node from the next: the keys of each are in [low, high), and together they cover all there are. */
function checkLevel({ capacity, sparse }: Instance, view: DataView, nodes: readonly number[]) {
  let low = 0n;
  nodes.forEach((node, i) => {
    const count = view.getUint32(node, true);
    const previous = nodes[i - 1] ?? 0;
    if (count < 1 || count > capacity) fail("entries", node);
    if (previous !== 0 && count + view.getUint32(previous, true) <= sparse) fail("sparse", node);
    if (view.getUint32(node + 4, true) !== previous) fail("previous", node);
    if (view.getUint32(node + 8, true) !== (nodes[i + 1] ?? 0)) fail("next", node);
    if (view.getBigUint64(node + 16, true) !== low) fail("low", node);
    const high = view.getBigUint64(node + 24, true);
    let least = low;
    for (const entry of entriesOf(view, node)) {
      const key = view.getBigUint64(entry, true);
      if (key < least || key >= high) fail("key", entry);
      least = key + 1n;
    }
    low = high;
  });
  if (nodes.length !== 0 && low !== 2n ** 63n - 1n) fail("high of the last node", 0);
}

function childAt(view: DataView, entry: number): number {
  const child = view.getUint32(entry + 8, true);
  if (view.getBigUint64(entry, true) !== view.getBigUint64(child + 16, true)) fail("child", entry);
  return child;
}

function entriesOf(view: DataView, node: number): number[] {
  return Array.from({ length: view.getUint32(node, true) }, (_, i) => node + 32 + 16 * i);
}

function fail(what: string, value: number): never {
  throw new Error(`${what}: 0x${value.toString(16)}`);
}

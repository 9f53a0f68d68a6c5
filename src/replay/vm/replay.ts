/**
 * Does again what a recorded host was asked for, on a VM of our own, and compares every library call that the VM comes to
 * make, every answer, and every word of the dirty logs.
 *
 * What the host alone knows is an input: which page is at an address, how large its leaf is, which devices are its own. Once
 * seen it is a fact, and has to stay one until a notifier tells of a change.
 */
import { Engine } from "../../engine.ts";
import { readText } from "../../input.ts";
import { JsonNode } from "../../image/json.ts";
import { parseJson } from "../../_input.ts";
import type { Trace } from "../read.ts";
import { machineOf } from "../settings.ts";
import { collectHistory } from "./collect.ts";
import { type HugeRange, RecordedHost } from "./host.ts";
import { vmidBits } from "./machine.ts";
import { Player } from "./player.ts";
import { type VmReplayResult, VmTally } from "./result.ts";

/** Room for the calls of one operation. */
const EVENTS = 2 ** 16;

const CALLS = new Set([
  "s2_map",
  "s2_unmap",
  "s2_wrprotect",
  "s2_relax_perms",
  "s2_mkyoung",
  "s2_test_clear_young",
  "s2_split",
  "s2_flush",
]);

/**
 * Replays a trace at the level of VMs, on an engine of its own.
 *
 * @throws Stage2Error  `BAD_INPUT` if the trace contradicts itself
 */
export async function replayVmTrace(trace: Trace): Promise<VmReplayResult> {
  const history = collectHistory(trace);
  const header = readHeader(trace);
  const tally = new VmTally();
  const tables = machineOf(trace);
  const engine = await Engine.create({ eventCapacity: EVENTS, vmidBits: vmidBits(tables) });
  const started = performance.now();
  try {
    compareCounts(trace, header.counts, tally);
    const host = new RecordedHost(tables.pageShift, header.huge, tally);
    const isProtected = trace.header.cpuModel.includes("kvm-arm.mode=protected");
    const player = new Player({ trace, history, engine, host, tally, tables, isProtected });
    try {
      await player.play();
    } finally {
      player.end();
    }
  } finally {
    engine.dispose();
  }
  const calls = trace.records.filter(({ op }) => CALLS.has(op)).length;
  return tally.result(trace.name, calls, (performance.now() - started) / 1000);
}

/** What the header says beside the machine. */
interface Header {
  /** Slots behind which huge pages were mapped explicitly. */
  readonly huge: readonly HugeRange[];
  /** How many records there are of each operation, if that is told. */
  readonly counts: ReadonlyMap<string, number>;
}

function readHeader({ path }: Trace): Header {
  const text = readText(path);
  const line = text.slice(0, text.indexOf("\n"));
  const header = new JsonNode(path, parseJson(path, line, "line 1"), "header");
  const slots = header.maybe("memslots")?.list() ?? [];
  const huge = slots.filter((slot) => slot.get("backing").text() === "hugetlb").map(rangeOf);
  const counts = (header.maybe("events")?.members() ?? []).map(
    ([op, count]) => [op, count.integer(0, Number.MAX_SAFE_INTEGER)] as const,
  );
  return { huge, counts: new Map(counts) };
}

function rangeOf(slot: JsonNode): HugeRange {
  const [start, size] = [Number(slot.get("hva").word()), Number(slot.get("size").word())];
  return { start, end: start + size };
}

/** No record was lost: of those that stand for themselves, this is the only witness. */
function compareCounts({ records }: Trace, counts: Header["counts"], tally: VmTally): void {
  const found = new Map<string, number>();
  for (const { op } of records) found.set(op, (found.get(op) ?? 0) + 1);
  for (const [op, count] of counts)
    if ((found.get(op) ?? 0) !== count)
      tally.differs(`the header counts ${count} records of ${op}, there are ${found.get(op) ?? 0}`);
}

/**
 * The recorded side of a comparison: what a call did, as tokens in the order of execution.
 *
 *   break_pte    stores the locked marker, then come invalidation and reference inside it; or it lost
 *   make_pte     the reference of the entry comes first, then the store; the line is written before both
 *   v_unmap      stores zero at the start of the visit
 *   v_attr       stores the new value at the end of it, and so does v_age
 */
import { LOCKED } from "./accesses.ts";
import { attributeExchange } from "./attributes.ts";
import { type Call, type Node, isFlush } from "./calls.ts";
import type { FreedPages } from "./pages.ts";
import type { TraceRecord } from "./record.ts";
import * as tokens from "./tokens.ts";

/** What the trace says for a level that the host did not know. */
const LEVEL_UNKNOWN = 2147483647;

/** What a visit does to its entry: it must be of the address, and start from the value, that the visit was made for. */
const STORES = new Set(["break_pte", "make_pte", "set_pte"]);

/** The tokens of a call. */
export function recordedTokens(call: Call, freed: FreedPages, pageShift: number): string[] {
  const stream = new RecordedStream(call, freed, pageShift);
  return isFlush(call) ? stream.flush(call) : stream.of(call);
}

class RecordedStream {
  readonly #out: string[] = [];

  constructor(
    readonly call: Call,
    readonly freed: FreedPages,
    readonly pageShift: number,
  ) {}

  of(node: Node): string[] {
    for (const inner of inOrder(node.inner)) this.#node(inner);
    return this.#out;
  }

  /** A flush outside every call: the record itself is what happened. */
  flush(node: Node): string[] {
    this.#event(node.record);
    return this.of(node);
  }

  #node(node: Node): void {
    const { record } = node;
    if (record.op.startsWith("v_")) return this.#visit(node);
    this.#event(record);
    this.of(node);
    if (record.op === "s2_create_unlinked") this.#built(node);
  }

  #visit(node: Node): void {
    const { op, pte_pa, level, visit, addr, old, ret } = node.record;
    const value = node.record.new;
    if (op === "v_free" && old === "0x0") return;
    this.#out.push(tokens.visitToken(pte_pa, level, Number(visit), addr, old));
    if (op === "v_unmap" && old !== "0x0" && value === "0x0")
      this.#out.push(tokens.writeToken(pte_pa, level, value));
    for (const { record } of node.inner)
      if (STORES.has(record.op) && (record.old !== old || record.addr !== addr))
        this.#out.push(tokens.strayToken(pte_pa, record.addr, record.old));
    this.of(node);
    const exchange = attributeExchange(node, this.call.record);
    if (exchange?.won) this.#out.push(tokens.writeToken(pte_pa, level, exchange.value));
    if (ret !== undefined && value !== undefined)
      this.#out.push(tokens.visitEndToken(pte_pa, Number(ret), value));
  }

  #event(record: TraceRecord): void {
    const { pa, pte_pa, level } = record;
    switch (record.op) {
      case "break_pte":
        if (record.ret === 1) this.#out.push(tokens.writeToken(pte_pa, level, LOCKED));
        else this.#out.push(tokens.lostToken(pte_pa, level));
        break;
      case "make_pte":
        this.#out.push(tokens.writeToken(pte_pa, level, record.new as string));
        break;
      case "get_page":
        this.#out.push(tokens.getToken(pa));
        break;
      case "put_page":
        this.#put(record);
        break;
      case "free_table_rcu":
        this.#out.push(tokens.unlinkToken(pa, level));
        break;
      case "icache_inval":
        this.#out.push(tokens.icacheToken(pa, record.size));
        break;
      default:
        this.#allocation(record);
        this.#out.push(...maintenance(record));
    }
  }

  #allocation({ op, pa, size }: TraceRecord): void {
    const pages = Number(size) / 2 ** this.pageShift;
    if (op === "alloc_table") {
      this.#out.push(tokens.allocToken(pa));
    } else if (op === "pgd_alloc") {
      this.#out.push(tokens.allocRootToken(pa, pages));
    } else if (op === "pgd_free") {
      this.#out.push(tokens.freeRootToken(pa, pages));
    }
  }

  /** The table that is returned is the first that was taken; ours are matched in that order. */
  #built({ record, inner }: Node): void {
    if (inner[0]?.record.pa !== record.ret) this.#out.push(tokens.builtToken(`${record.ret}`));
  }

  #put(record: TraceRecord): void {
    this.#out.push(tokens.putToken(record.pa));
    const freed = this.freed.get(record);
    if (freed !== undefined) this.#out.push(tokens.freeToken(freed));
  }
}

/** Puts the reference of an entry before the store, whose line was written first. */
function inOrder(nodes: readonly Node[]): readonly Node[] {
  const ordered = [...nodes];
  nodes.forEach((node, i) => {
    const next = nodes[i + 1];
    if (node.record.op !== "make_pte" || next?.record.op !== "get_page") return;
    ordered[i] = next;
    ordered[i + 1] = node;
  });
  return ordered;
}

/** Cache maintenance and TLB invalidation; nothing for records of other kinds. */
function maintenance(record: TraceRecord): string[] {
  const { pa, ipa, addr, size, level } = record;
  switch (record.op) {
    case "dcache_clean":
      return [tokens.cleanToken(pa, size)];
    case "tlb_flush_range":
      return [tokens.flushRangeToken(addr, size)];
    case "tlbi_range":
      return [tokens.tlbiRangeToken(record.start, record.pages)];
    case "tlbi_vmid":
      return [tokens.tlbiVmidToken()];
    case "tlbi_ipa":
    case "tlbi_ipa_nsh": {
      const known = level === LEVEL_UNKNOWN ? undefined : level;
      return [tokens.tlbiIpaToken(ipa, known, record.op === "tlbi_ipa_nsh")];
    }
    default:
      return [];
  }
}

/** Our side of a comparison: the events of a call, as tokens, with the addresses of the recorded host. */
import { EVENT, EVENT_RECORD, LEVEL_UNKNOWN, RECORD_BYTES } from "../_abi.ts";
import type { Context } from "../_context.ts";
import { hex64, type TableAddresses } from "./addresses.ts";
import type { Machine } from "./settings.ts";
import * as tokens from "./tokens.ts";

const WORDS = RECORD_BYTES / 4;
const A = EVENT_RECORD.A / 4;
const B = EVENT_RECORD.B / 4;
const C = EVENT_RECORD.C / 4;
const TWO_32 = 2 ** 32;

/** What a call took, to match the pages it allocates with those that it allocated when it was recorded. */
export interface Expectations {
  /** The tables that the recorded call allocated, in order. */
  readonly tables: readonly string[];
  /** Only visits of entries that are not zero were recorded, and not how they ended. */
  readonly freeing: boolean;
  /** How visits ended was recorded. */
  readonly ends: boolean;
}

/** A table that a call detached and left to the caller. */
export interface Unlinked {
  /** Recorded address. */
  readonly pa: number;
  readonly level: number;
}

/** What a call did so far. */
export interface Observation {
  readonly expected: Expectations;
  readonly tokens: string[];
  readonly unlinked: Unlinked[];
  /** Table pages that it took. */
  allocated: number;
}

export function observe(expected: Expectations): Observation {
  return { expected, tokens: [], unlinked: [], allocated: 0 };
}

/** Takes the events out of the ring. */
export class ObservedStream {
  readonly #context: Context;
  readonly #addresses: TableAddresses;
  readonly #machine: Machine;
  #words: Uint32Array = new Uint32Array(0);
  #at = 0;

  constructor(context: Context, addresses: TableAddresses, machine: Machine) {
    this.#context = context;
    this.#addresses = addresses;
    this.#machine = machine;
  }

  /** Adds the events since the last time to those of the call that caused them. */
  take(observation: Observation): void {
    const { core } = this.#context;
    if (core.events_lost() > 0) throw new Error("the event ring is too small for this call");
    const count = core.events_count();
    if (count === 0) return;
    const first = (core.events_pointer() >>> 0) / 4;
    const [capacity, tail] = [core.events_capacity(), core.events_tail() >>> 0];
    this.#words = this.#context.u32;
    for (let i = 0; i < count; i++) {
      this.#at = first + ((tail + i) % capacity) * WORDS;
      this.#event(observation);
    }
    core.events_consume(count);
  }

  #event(state: Observation): void {
    const head = this.#words[this.#at] as number;
    const kind = head & 0xff;
    const level = (head << 16) >> 24;
    if (kind === EVENT.VISIT || kind === EVENT.VISIT_END) return this.#visit(state, kind, level);
    const out = state.tokens;
    switch (kind) {
      case EVENT.WRITE:
        out.push(tokens.writeToken(this.#entry(), level, this.#value(B, level)));
        break;
      case EVENT.WRITE_UNLINKED:
        out.push(tokens.writeToken(this.#entry(), level, this.#value(B, level)));
        break;
      case EVENT.BREAK_LOST:
        out.push(tokens.lostToken(this.#entry(), level));
        break;
      case EVENT.GET:
        out.push(tokens.getToken(this.#entry()));
        break;
      case EVENT.PUT:
        out.push(tokens.putToken(this.#entry()));
        break;
      case EVENT.DCACHE_CLEAN:
        out.push(tokens.cleanToken(this.#hex(A), this.#hex(B)));
        break;
      case EVENT.ICACHE_INVAL:
        out.push(tokens.icacheToken(this.#hex(A), this.#hex(B)));
        break;
      case EVENT.TLB_FLUSH_RANGE:
        out.push(tokens.flushRangeToken(this.#hex(A), this.#hex(B)));
        break;
      default:
        this.#tableOrTlbi(state, kind, level);
    }
  }

  #tableOrTlbi(state: Observation, kind: number, level: number): void {
    const out = state.tokens;
    switch (kind) {
      case EVENT.ALLOC:
        out.push(this.#alloc(state));
        break;
      case EVENT.ALLOC_EXACT:
        out.push(this.#allocRoot(state));
        break;
      case EVENT.FREE:
        out.push(tokens.freeToken(this.#entry()));
        this.#addresses.forget(this.#number(A));
        break;
      case EVENT.FREE_EXACT:
        out.push(this.#freeRoot());
        break;
      case EVENT.UNLINK:
        out.push(tokens.unlinkToken(this.#entry(), level));
        state.unlinked.push({ pa: this.#addresses.recorded(this.#number(A)) ?? NaN, level });
        break;
      default:
        if (this.#machine.tlbiRecorded) out.push(this.#tlbi(kind, level));
    }
  }

  #tlbi(kind: number, level: number): string {
    const known = level === LEVEL_UNKNOWN ? undefined : level;
    switch (kind) {
      case EVENT.TLBI_VMID:
        return tokens.tlbiVmidToken();
      case EVENT.TLBI_RANGE:
        return tokens.tlbiRangeToken(this.#hex(A), this.#hex(B));
      case EVENT.TLBI_IPA:
      case EVENT.TLBI_IPA_NSH:
        return tokens.tlbiIpaToken(this.#hex(A), known, kind === EVENT.TLBI_IPA_NSH);
      default:
        return `event ${kind}`;
    }
  }

  #visit({ expected, tokens: out }: Observation, kind: number, level: number): void {
    const { freeing, ends } = expected;
    const visit = (this.#words[this.#at] as number) >>> 16;
    const entry = this.#entry();
    if (kind === EVENT.VISIT) {
      const old = this.#value(B, level);
      if (freeing && old === "0x0") return;
      out.push(tokens.visitToken(entry, level, visit, this.#hex(C), old));
    } else if (ends) {
      const result = (this.#words[this.#at + 1] as number) | 0;
      out.push(tokens.visitEndToken(entry, result, this.#value(B, level)));
    }
  }

  /** Matches the page with the next that the recorded call took. */
  #alloc(state: Observation): string {
    const table = state.expected.tables[state.allocated++];
    if (table !== undefined) this.#addresses.match(this.#number(A), Number(table));
    return tokens.allocToken(this.#entry());
  }

  #allocRoot(state: Observation): string {
    const pages = this.#words[this.#at + 1] as number;
    const root = state.expected.tables[state.allocated++];
    const bytes = pages * 2 ** this.#machine.pageShift;
    if (root !== undefined) this.#addresses.match(this.#number(A), Number(root), bytes);
    return tokens.allocRootToken(this.#entry(), pages);
  }

  #freeRoot(): string {
    const pages = this.#words[this.#at + 1] as number;
    const token = tokens.freeRootToken(this.#entry(), pages);
    this.#addresses.forget(this.#number(A), pages * 2 ** this.#machine.pageShift);
    return token;
  }

  #entry(): string {
    return this.#addresses.text(this.#number(A));
  }

  #value(field: number, level: number): string {
    const at = this.#at + field;
    return this.#addresses.entry(this.#words[at + 1] as number, this.#words[at] as number, level);
  }

  #hex(field: number): string {
    const at = this.#at + field;
    return hex64(this.#words[at + 1] as number, this.#words[at] as number);
  }

  #number(field: number): number {
    const at = this.#at + field;
    return (this.#words[at + 1] as number) * TWO_32 + (this.#words[at] as number);
  }
}

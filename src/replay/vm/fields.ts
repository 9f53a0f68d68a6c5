/** Checked reading of the fields that only this level looks at. */
import { inputError } from "../../input.ts";
import type { Trace } from "../read.ts";
import type { TraceRecord } from "../record.ts";

const HEX = /^0x[0-9a-f]{1,16}$/;

/** A record's fields, by name. What is not there, or has another form, is an input error. */
export class Fields {
  readonly pageBytes: number;
  readonly #trace: Trace;

  constructor(trace: Trace) {
    this.#trace = trace;
    this.pageBytes = 2 ** trace.header.pageShift;
  }

  /** A number, written plainly or in hexadecimal; exact to 2^53. */
  number(record: TraceRecord, name: string): number {
    const value = valueOf(record, name);
    const number = typeof value === "string" && HEX.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isInteger(number)) return number;
    return this.#fail(record, name);
  }

  /** A 64-bit number. */
  word(record: TraceRecord, name: string): bigint {
    const value = valueOf(record, name);
    if (typeof value === "string" && HEX.test(value)) return BigInt(value);
    return this.#fail(record, name);
  }

  text(record: TraceRecord, name: string): string {
    const value = valueOf(record, name);
    return typeof value === "string" ? value : this.#fail(record, name);
  }

  /** A time in seconds. */
  time(record: TraceRecord, name: "t" | "t2"): number {
    const value = Number(valueOf(record, name));
    return Number.isFinite(value) ? value : this.#fail(record, name);
  }

  #fail(record: TraceRecord, name: string): never {
    const where = `record ${record.i}: ${record.op}`;
    throw inputError(this.#trace.path, `${where} has no valid "${name}"`);
  }
}

/** Whether the record has a field. */
export function has(record: TraceRecord, name: string): boolean {
  return valueOf(record, name) !== undefined;
}

function valueOf(record: TraceRecord, name: string): unknown {
  return (record as unknown as Record<string, unknown>)[name];
}

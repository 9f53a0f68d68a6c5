/** Records of a casemate trace: one line each, numbered. */

/** A number in hex, as addresses and values are written. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** Writes records. Every record says its number, its thread, and which event it comes from. */
export class Records {
  readonly #source: string;
  #next = 0;
  /** Number of the event that is being written. */
  event = 0;

  constructor(source: string) {
    this.#source = source;
  }

  /** `memory-order` is release: every store to a live entry is a sequentially consistent atomic. */
  write(thread: number, address: number, value: bigint, order: "plain" | "release"): string {
    const fields = `(mem-order ${order}) (address ${hex(address)}) (value ${hex(value)})`;
    return this.#record("mem-write", thread, fields);
  }

  init(thread: number, address: number, size: number): string {
    return this.#record("mem-init", thread, `(address ${hex(address)}) (size ${hex(size)})`);
  }

  free(thread: number, address: number, size: number): string {
    return this.#record("mem-free", thread, `(address ${hex(address)}) (size ${hex(size)})`);
  }

  dsb(thread: number, kind: "ish" | "ishst"): string {
    return this.#record("barrier", thread, `dsb (kind ${kind})`);
  }

  isb(thread: number): string {
    return this.#record("barrier", thread, "isb");
  }

  /** An invalidation of everything of its kind, or with its operand by address. */
  tlbi(thread: number, op: string, operand?: bigint): string {
    const value = operand === undefined ? "" : ` (value ${hex(operand)})`;
    return this.#record("tlbi", thread, `${op}${value}`);
  }

  register(thread: number, name: "vttbr_el2" | "vtcr_el2", value: bigint): string {
    return this.#record("sysreg-write", thread, `(sysreg ${name}) (value ${hex(value)})`);
  }

  hint(
    thread: number,
    kind: "set_root_lock" | "release_table",
    location: number,
    value: number,
  ): string {
    const fields = `(kind ${kind}) (location ${hex(location)}) (value ${hex(value)})`;
    return this.#record("hint", thread, fields);
  }

  lock(thread: number, taken: boolean, address: number): string {
    return this.#record(taken ? "lock" : "unlock", thread, `(address ${hex(address)})`);
  }

  #record(name: string, thread: number, fields: string): string {
    const source = `(src "${this.#source}:${this.event}")`;
    return `(${name} (id ${this.#next++}) (tid ${thread}) ${fields} ${source})`;
  }
}

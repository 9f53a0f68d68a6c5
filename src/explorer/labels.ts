/** What lies at an address of a litmus world, in words: names that the test gave, else where in the engine it is. */
import type { Core } from "../_abi.ts";
import type { Bank } from "../_guest_ram.ts";
import { UNIT } from "../_region.ts";

/** Sizes of the engine's parts, as in assembly/layout.ts. */
const HEADER = 4096;
const THREAD = 128;
const SCRATCH = 16384;
const OBJECT = 256;
const RECORD = 32;
const TLBI_RECORDS = 1024;
const GRANULES = 1024;
const VMID_BITMAP = 8192;
const VMID_WORDS = 16;
const META = 8;

const HEADER_WORDS: Readonly<Record<number, string>> = {
  128: "frontier of the pool",
  132: "committed units",
  136: "merger of free pages",
  140: "retired pages",
  144: "units that wait",
  192: "pages in use",
  196: "peak of pages",
  384: "head of the event ring",
  448: "tail of the event ring",
  512: "head of the TLBI log",
  576: "watchers",
};

const THREAD_WORDS: Readonly<Record<number, string>> = {
  0: "state",
  32: "hardware section",
  36: "walk section",
  40: "bracket",
  44: "vCPU in its bracket",
  48: "lock held",
};

interface Part {
  readonly start: number;
  readonly end: number;
  readonly say: (offset: number) => string;
}

const item = (what: string, size: number) => (offset: number) =>
  `${what} ${Math.floor(offset / size)}+${offset % size}`;

export class Labels {
  readonly #named: Part[] = [];
  readonly #parts: readonly Part[];
  readonly #banks: readonly Bank[];
  readonly #poolPhysical: number;
  readonly #poolPointer: number;
  readonly #poolBytes: number;

  constructor(
    core: Core,
    base: number,
    threads: number,
    shape: { readonly objects: number; readonly events: number },
    banks: readonly Bank[],
  ) {
    this.#banks = banks;
    this.#poolPhysical = core.pool_phys();
    this.#poolPointer = core.pool_pointer() >>> 0;
    const units = core.pool_capacity();
    this.#poolBytes = units * UNIT;
    let at = base;
    const part = (bytes: number, say: Part["say"]): Part => {
      at += bytes;
      return { start: at - bytes, end: at, say };
    };
    this.#parts = [
      part(HEADER, (offset) => HEADER_WORDS[offset] ?? `header+${offset}`),
      part(threads * THREAD, sayThread),
      part(threads * SCRATCH, item("scratch of thread", SCRATCH)),
      part(shape.objects * OBJECT, item("object", OBJECT)),
      part(shape.events * RECORD, item("event", RECORD)),
      part(TLBI_RECORDS * RECORD, item("TLBI record", RECORD)),
      part(GRANULES * 4, item("granule", 4)),
      part(VMID_BITMAP, item("VMIDs", 8)),
      part(shape.objects * VMID_WORDS, item("VMID words of CPU", VMID_WORDS)),
      part(Math.ceil(units / 64) * 64 * META, sayPage),
      { start: this.#poolPointer, end: this.#poolPointer + this.#poolBytes, say: sayEntry },
      ...banks.map((bank) => ({
        start: bank.pointer,
        end: bank.pointer + bank.size,
        say: (offset: number) => `memory at 0x${(bank.pa + offset).toString(16)}`,
      })),
    ];
  }

  name(address: number, bytes: number, label: string): void {
    const say = (offset: number): string => (offset === 0 ? label : `${label}+${offset}`);
    this.#named.push({ start: address, end: address + bytes, say });
  }

  say(address: number): string {
    const inside = ({ start, end }: Part): boolean => address >= start && address < end;
    const part = this.#named.find(inside) ?? this.#parts.find(inside);
    return part?.say(address - part.start) ?? `0x${address.toString(16)}`;
  }

  /** Pointer to the bytes behind a physical address. */
  pointer(pa: number): number {
    const inPool = pa - this.#poolPhysical;
    if (inPool >= 0 && inPool < this.#poolBytes) return this.#poolPointer + inPool;
    const bank = this.#banks.find(({ pa: start, size }) => pa >= start && pa < start + size);
    if (bank !== undefined) return bank.pointer + (pa - bank.pa);
    throw new Error(`there is no memory at 0x${pa.toString(16)}`);
  }
}

function sayThread(offset: number): string {
  const word = THREAD_WORDS[offset % THREAD] ?? `+${offset % THREAD}`;
  return `${word} of thread ${Math.floor(offset / THREAD)}`;
}

/** Of each 64 pages the lowest digit (in eights) of the number is added to the next one, without carry. */
function sayPage(offset: number): string {
  const what = offset % META === 0 ? "references" : "link";
  const slot = Math.floor(offset / META);
  return `${what} of page ${slot ^ ((slot & 7) << 3)}`;
}

function sayEntry(offset: number): string {
  return `entry ${(offset % UNIT) >> 3} of page ${Math.floor(offset / UNIT)}`;
}

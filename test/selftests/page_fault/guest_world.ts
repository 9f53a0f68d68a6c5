/**
 * The guest of page_fault_test: code at IPA 0, its page tables and its data page at the very top of its address space. T is
 * an address of the data page, B one of the page that holds T's last descriptor, through which the guest edits it.
 *
 *     IPA   0 +------+   ...   +--------+---+ 2^bits
 *             | code |         | tables | D |
 *             +------+         +--------+---+
 */
import type { VcpuOptions, VmOptions } from "../../../src/index.ts";
import { S1 } from "../../hw-model/paging.ts";
import { type Guest, type MmioExit, codeReturning } from "../harness/guest.ts";
import type { HostKind, Machine, Place, Scene } from "../harness/machine.ts";
import { CODE_OFFSET, CODE_RESULT } from "../harness/operations.ts";
import { type Stage1, TCR_HA } from "../harness/stage1.ts";

export const T = 0xc000_0000;
const B = 0xb000_0000;
const [CODE_PAGES, TABLE_PAGES] = [512, 26];
/** The page of the code slot that the guest runs in; VA and IPA are the same. */
const CODE_PAGE = 16;
const [CODE, TABLES, DATA] = [0, 1, 2];

/** How often the hook of a slot was asked for a page. */
export interface Missing {
  tables: number;
  data: number;
}

/** An exit of MMIO, and what was missing before it. */
export interface Exit {
  readonly address: number;
  readonly size: number;
  readonly write: boolean;
  readonly before: Readonly<Missing>;
}

export interface WorldOptions {
  readonly flags?: number;
  /** Flags of the tables' slot, where they differ. */
  readonly tableFlags?: number;
  readonly cpu?: VcpuOptions;
  /** Host memory of tables and data, in units of so many bytes. Default: anonymous pages. */
  readonly memory?: HostKind & { readonly unit: number };
  readonly vm?: Partial<VmOptions>;
}

export class World {
  readonly scene: Scene;
  readonly tables: Place;
  readonly data: Place;
  readonly guest: Guest;
  /** Host addresses that the hooks were asked for. */
  readonly missing: Missing = { tables: 0, data: 0 };
  readonly exits: Exit[] = [];
  readonly #stage1: Stage1;

  constructor(machine: Machine, options: WorldOptions) {
    const { flags = 0, tableFlags = flags, cpu = {}, vm = {} } = options;
    const scene = machine.scene(vm);
    const { page } = scene.machine;
    const { unit, ...memory } = options.memory ?? { unit: page };
    const top = scene.limit;
    this.scene = scene;
    scene.addSlot({ slot: CODE, ipa: 0, size: CODE_PAGES * page });
    this.data = scene.addSlot({ slot: DATA, ipa: top - unit, size: unit, flags, memory });
    const size = Math.ceil((TABLE_PAGES * page) / unit) * unit;
    const ipa = this.data.ipa - size;
    this.tables = scene.addSlot({ slot: TABLES, ipa, size, flags: tableFlags, memory });
    this.#stage1 = scene.stage1({ ipa, end: ipa + size });
    const code = CODE_PAGE * page;
    this.#stage1.map(code, code);
    this.#stage1.map(T, this.data.ipa);
    this.#stage1.map(B, this.pte - (this.pte % page));
    this.#placeCode();
    const mmio = (exit: MmioExit): void => this.#copyToData(exit);
    this.guest = scene.guest({ stage1: this.#stage1, code, cpu, mmio });
  }

  /** IPA of T's descriptor. */
  get pte(): number {
    return this.#stage1.pteOf(T);
  }

  /** T's descriptor, as the guest sees it. */
  get pteVa(): number {
    return B + (this.pte % this.scene.machine.page);
  }

  /** In the guest: hardware sets access flags from now on, and that of T is clear. */
  clearAccessFlag(guest: Guest): void {
    const { cpu } = guest;
    cpu.setRegisters({ tcrEl1: cpu.registers.tcrEl1 | TCR_HA });
    guest.store(this.pteVa, guest.load(this.pteVa) & ~S1.AF);
    cpu.tlbi("VAAE1", { address: T });
  }

  /** The same by the host, for tables that the guest cannot write. */
  clearAccessFlagByHost(): void {
    const { cpu } = this.guest;
    cpu.setRegisters({ tcrEl1: cpu.registers.tcrEl1 | TCR_HA });
    this.scene.words.set(this.pte, this.scene.words.get(this.pte) & ~S1.AF);
    cpu.tlbi("VAAE1", { address: T });
  }

  hasAccessFlag(): boolean {
    return (this.scene.words.get(this.pte) & S1.AF) !== 0n;
  }

  /** The host drops what is behind a slot; with a hook it is asked for it again, all at once, and told by the first page. */
  dropData(hooked: boolean): void {
    this.#drop("data", this.data, this.data.size, hooked);
  }

  dropTables(hooked: boolean): void {
    this.#drop("tables", this.tables, this.#stage1.used, hooked);
  }

  /** Takes the dirty log of the tables' and the data's slot: whether the descriptor's page and T's are in it. */
  takeLogs(): { data: boolean; table: boolean } {
    const { vm, machine } = this.scene;
    const page = (this.pte - this.tables.ipa - (this.pte % machine.page)) / machine.page;
    return { data: vm.getDirtyLog(DATA).has(0), table: vm.getDirtyLog(TABLES).has(page) };
  }

  /** Pages in the log of the data's slot. */
  dirtyDataPages(): number {
    return this.scene.vm.getDirtyLog(DATA).count;
  }

  #drop(name: keyof Missing, { hva, size }: Place, used: number, hooked: boolean): void {
    const { host } = this.scene;
    const saved = new Uint8Array(used);
    if (host.read(hva, saved) !== true) throw new Error("the host cannot read its own memory");
    if (hooked) {
      host.onMissing({ hva, size }, (fault) => {
        if (fault.hva !== hva)
          throw new Error(`the hook of ${name} was asked for ${fault.hva - hva}`);
        this.missing[name]++;
        for (let at = 0; at < used; at += fault.size) {
          host.fill(hva + at, saved.subarray(at, at + fault.size));
        }
      });
    }
    host.punch({ hva, size });
  }

  /** A write to a read-only slot: the host makes it. */
  #copyToData(exit: MmioExit): void {
    const { address, size, write } = exit;
    this.exits.push({ address, size, write, before: { ...this.missing } });
    if (exit.data === undefined) throw new Error("a read is no exit");
    this.scene.words.set(exit.address, exit.data);
    exit.complete();
  }

  #placeCode(): void {
    const [first, second] = codeReturning(CODE_RESULT);
    const word = BigInt(first >>> 0) | (BigInt(second >>> 0) << 32n);
    this.scene.words.set(this.data.ipa + CODE_OFFSET, word);
  }
}

/** Writes small traces by hand: one host with 4 KiB pages, one page table ROOT -> T1 -> T2. */
import { type Line, writeTrace } from "./support.ts";

const HEADER = {
  op: "header",
  name: "hand",
  qemu_cpu: "cortex-a72",
  kernel: "6.12",
  page_size: 4096,
  pgt_ia_bits_start_level: [[40, 1]],
  regs: {},
};

export const ROOT = 0x1_0000;
export const [T1, T2, T3] = [0x2_0000, 0x3_0000, 0x4_0000] as const;
export const MARKER = "0x400";

export const hex = (value: number): string => `0x${value.toString(16)}`;
export const tableEntry = (table: number): string => hex(table | 3);
/** The page mapped readable and writable, not executable. */
export const leafOf = (addr: number): string =>
  `0x${(0x40_0000_8000_07ffn + BigInt(addr)).toString(16)}`;
/** Where the entry of an address of the first 2 MiB is in `table`. */
export const entryOf = (addr: number, table: number = T2): number => table + (addr / 4096) * 8;

export class Script {
  readonly lines: Line[] = [];

  /** Adds a record; its number, for `up`. */
  add(op: string, fields: Line, up?: number): number {
    const i = this.lines.length;
    this.lines.push({ i, op, ...fields, ...(up === undefined ? {} : { up }) });
    return i;
  }

  init(): void {
    const times = { t: "0.1", t2: "0.2", pid: 1 };
    const init = this.add("s2_init", { pgt: 0, mmu: "m", ret: 0, ...times });
    this.add("pgd_alloc", { pa: hex(ROOT), size: "0x2000" }, init);
  }

  /** A map of one page by a thread: opened and closed at these times. */
  map(pid: number, [t, t2]: readonly [number, number], ret: number, addr = 0x1000): number {
    const page = { addr: hex(addr), size: "0x1000", phys: hex(0x8000_0000 + addr), prot: "0x6" };
    return this.add("s2_map", { pgt: 0, ...page, flags: "0x18", pid, t: `${t}`, t2: `${t2}`, ret });
  }

  relax(pid: number, [t, t2]: readonly [number, number], prot: string, ret: number): number {
    const times = { pid, t: `${t}`, t2: `${t2}` };
    return this.add("s2_relax_perms", { pgt: 0, addr: "0x1000", prot, ret, ...times });
  }

  visit(op: string, call: number, entry: number, level: number, values: Line): number {
    return this.add(op, { pte_pa: hex(entry), addr: "0x1000", level, ...values }, call);
  }

  /** The visits of tables on the way to a page. */
  descend(call: number, addr = 0x1000): void {
    const way: [number, number, number][] = [[ROOT, 1, T1], [T1, 2, T2]]; // prettier-ignore
    for (const [entry, level, table] of way) {
      const value = tableEntry(table);
      const values = { visit: "0x2", old: value, new: value, ret: 0, addr: hex(addr) };
      this.visit("v_map", call, entry, level, values);
    }
  }

  /** The visit of a page's entry. */
  leaf(call: number, old: string, value: string, ret: number, addr = 0x1000): number {
    const values = { visit: "0x1", old, new: value, ret, addr: hex(addr) };
    return this.visit("v_map", call, entryOf(addr), 3, values);
  }

  break(visit: number, ret: number): number {
    const { pte_pa, old, addr, level } = this.lines[visit] as Line;
    return this.add("break_pte", { pte_pa, old, addr, level, ret } as Line, visit);
  }

  /** What follows a break that worked, of an entry that was empty. */
  make(visit: number, value: string): void {
    const { pte_pa, old, addr, level } = this.lines[visit] as Record<string, string | number>;
    const place = { pte_pa, old, addr, level } as Line;
    const clean = { pa: hex(0x8000_0000 + Number(addr)), size: "0x1000" };
    if (level === 3) this.add("dcache_clean", clean, visit);
    this.add("make_pte", { ...place, new: value }, visit);
    this.add("get_page", { pa: pte_pa as string }, visit);
  }

  /** Breaks and makes an empty entry. */
  install(visit: number, value: string): void {
    this.break(visit, 1);
    this.make(visit, value);
  }

  /** Maps the first page, so that T1 and T2 are there. */
  begin(): void {
    this.init();
    const call = this.map(1, [0.3, 0.4], 0, 0);
    const way: [number, number, number][] = [[ROOT, 1, T1], [T1, 2, T2]]; // prettier-ignore
    for (const [entry, level, table] of way) {
      const values = { visit: "0x1", old: "0x0", new: tableEntry(table), ret: 0, addr: "0x0" };
      const visit = this.visit("v_map", call, entry, level, values);
      this.add("alloc_table", { pa: hex(table) }, visit);
      this.install(visit, tableEntry(table));
    }
    this.install(this.leaf(call, "0x0", leafOf(0), 0, 0), leafOf(0));
  }

  /** Destroys ROOT -> T1 -> `last` with these leaves, by address. */
  destroy(leaves: Readonly<Record<number, string>>, last: number = T2): void {
    const call = this.add("s2_destroy", { pgt: 0, t: "9", t2: "9.1", pid: 1 });
    for (const [addr, old] of Object.entries(leaves)) {
      const entry = entryOf(Number(addr), last);
      this.visit("v_free", call, entry, 3, { visit: "0x1", old, addr: hex(Number(addr)) });
      this.add("put_page", { pa: hex(entry) }, call);
    }
    const way: [number, number, number][] = [[T1, 2, last], [ROOT, 1, T1]]; // prettier-ignore
    for (const [entry, level, child] of way) {
      this.visit("v_free", call, entry, level, {
        visit: "0x4",
        old: tableEntry(child),
        addr: "0x0",
      });
      this.add("put_page", { pa: hex(entry) }, call);
      this.add("put_page", { pa: hex(child) }, call);
    }
    this.add("pgd_free", { pa: hex(ROOT), size: "0x2000" }, call);
  }

  write(): string {
    return writeTrace("hand", [HEADER, ...this.lines]);
  }
}

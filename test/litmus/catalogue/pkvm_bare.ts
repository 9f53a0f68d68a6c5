/** VMs that are made by bare hypercalls, and what is left of them when they have ended. */
import type { Lab } from "../../../src/explorer/litmus.ts";
import { Prot } from "../../../src/index.ts";
import { ENTRY_PAGES, HYPERCALL, PkvmBed, pfn } from "./pkvm_bed.ts";
import { isHosts, wrongBooks } from "./pkvm_books.ts";
import { type Agents, forbidden } from "./support.ts";
import { fine } from "./vm_bed.ts";

const ENOENT = -2;
const H = HYPERCALL;

/** First of the pages that a VM is made of, and of those that its tables are. */
export const PARTS = 300;
export const TABLES = 320;
/** A guest address that stays mapped, for the table of the others, and its page. */
export const HOLDER = 500;

/** A machine with one VM that has a page mapped, so that another one needs no table; nobody has it loaded. */
export function oneVm(bed: PkvmBed, first = PARTS, tables = TABLES, share = true): number {
  const handle = bed.bareVm(bed.maker, first);
  if (!share) return handle;
  const list = [0, 1, 2].map((n) => pfn(tables + n));
  fine("VCPU_LOAD", bed.now(bed.maker, H.VCPU_LOAD, handle, 0));
  const words = [pfn(HOLDER), HOLDER, 1, Prot.RW] as const;
  fine("SHARE_GUEST", bed.giveNow(bed.maker, H.SHARE_GUEST, list, ...words));
  fine("VCPU_PUT", bed.now(bed.maker, H.VCPU_PUT));
  return handle;
}

/** Ends the VM if it is still there; what of it is left, as a sentence. */
export function leftOver(bed: PkvmBed, handle: number, before: number): string | undefined {
  const last = bed.now(bed.maker, H.TEARDOWN_VM, handle);
  const parts = Array.from({ length: 3 + ENTRY_PAGES }, (_, n) => PARTS + n).slice(1);
  const pages = [0, HOLDER, TABLES, TABLES + 1, TABLES + 2, ...parts];
  const kept = pages.find((n) => !isHosts(bed, n));
  const pins = bed.record(PARTS).references;
  const wrong = wrongBooks(bed, []);
  const { core } = bed.maker;
  const ended = core.pkvm_destroy(bed.machine);
  const late = core.engine_quiesce();
  return (
    forbidden(
      [last !== 0 && last !== ENOENT, `the last teardown answered ${last}`],
      [kept !== undefined, `page ${kept} has not come back`],
      [pins !== 0, `struct kvm has ${pins} references`],
    ) ??
    wrong ??
    forbidden(
      [ended !== 0 || late !== 0, `the machine ends with ${ended}, ${late}`],
      [core.pool_used() !== before, `${core.pool_used() - before} pages outlive the machine`],
    )
  );
}

export function inUse(agents: Agents): number {
  return Object.values(agents)[0]?.core.pool_used() ?? 0;
}

/** A bed with one VM as {@link oneVm} makes it, and the pages that were in use before. */
export function bedWithVm(
  agents: Agents,
  lab: Lab,
  share = true,
): { bed: PkvmBed; before: number; handle: number } {
  const before = inUse(agents);
  const bed = new PkvmBed(agents, lab);
  return { bed, before, handle: oneVm(bed, PARTS, TABLES, share) };
}

/**
 * The books of pKVM, looked at in peace, unscheduled: the kernel's records are the leaves, each page's count is the number of leaves
 * that cover it, and every page has one owner.
 */
import { BATCH, LIST, RECORD_BYTES } from "../../../src/_abi.ts";
import { OWNER, PAGE_STATE } from "../../../src/pkvm/_abi.ts";
import { type GuestVm, MEMORY, type PkvmBed, type Table } from "./pkvm_bed.ts";
import { BLOCK, PAGE, isValid, outputOf } from "./support.ts";

const { OWNED, SHARED_OWNED, SHARED_BORROWED, NOPAGE } = PAGE_STATE;
const LIMIT = 2 ** 36;
const LEAF_SIZE: Readonly<Record<number, number>> = { 1: 2 ** 30, 2: BLOCK, 3: PAGE };
/** Owner in an entry of the host's stage 2 that maps nothing. */
const OWNER_FIELD = 0xffn << 2n;

/** A run of guest addresses, and where they are. */
interface Mapped {
  readonly ipa: number;
  readonly pa: number;
  readonly size: number;
}

/** What there is besides VMs of the host's kernel. */
export interface Besides {
  /** Handles of VMs that were made by bare hypercalls: nobody keeps records of them. */
  readonly bare?: readonly number[];
  /** Pages that the secure world has borrowed. */
  readonly ffa?: readonly number[];
}

/** What does not add up, as a sentence. */
export function wrongBooks(
  bed: PkvmBed,
  vms: readonly GuestVm[],
  { bare = [], ffa = [] }: Besides = {},
): string | undefined {
  const leaves = vms.map((vm) => leavesOf(bed, vm.s2));
  for (const [index, vm] of vms.entries()) {
    const wrong = differing(recordsOf(bed, vm), leaves[index] as Mapped[]);
    if (wrong !== undefined) return vms.length === 1 ? wrong : `VM ${index}: ${wrong}`;
  }
  for (const handle of bare) leaves.push(leavesOf(bed, bed.tableOf(handle)));
  return wrongCounts(bed, leaves.flat()) ?? wrongOwners(bed, ffa);
}

/** The records that the host's kernel has of this VM. */
export function recordsOf(bed: PkvmBed, { pgt }: GuestVm): Mapped[] {
  const { maker } = bed;
  const records: Mapped[] = [];
  for (let from = 0; maker.core.el1_mapping(pgt, from) === 1;) {
    const [ipa, pa, size] = [0, 1, 2].map((n) => bed.result(maker, n)) as [number, number, number];
    records.push({ ipa, pa, size });
    if (ipa + size <= from) break; // then they overlap, which is told of below
    from = ipa + size;
  }
  return records;
}

/** The leaves of a stage 2. */
function leavesOf(bed: PkvmBed, { pointer }: Table): Mapped[] {
  const { core } = bed.maker;
  bed.setArguments(bed.maker, [0, LIMIT, -2]);
  const count = core.pgt_list(pointer, LIST.LEAVES);
  const at = core.batch() >>> 0;
  return Array.from({ length: count }, (_, index) => {
    const record = at + index * RECORD_BYTES;
    const pte = bed.lab.read64(record + BATCH.ENTRY);
    const level = bed.lab.read32(record + BATCH.LEVEL) & 0xff;
    const size = LEAF_SIZE[level] as number;
    return { ipa: Number(bed.lab.read64(record + BATCH.ADDRESS)), pa: outputOf(pte) ?? NaN, size };
  });
}

function say({ ipa, pa, size }: Mapped): string {
  const what = size === PAGE ? "" : ` (${size / PAGE} pages)`;
  return `${ipa / PAGE} -> ${(pa - MEMORY.pa) / PAGE}${what}`;
}

function differing(records: readonly Mapped[], leaves: readonly Mapped[]): string | undefined {
  const [kept, there] = [records, leaves].map((list) => list.map(say)) as [string[], string[]];
  const noLeaf = kept.find((one) => !there.includes(one));
  if (noLeaf !== undefined) return `a record without a leaf: ${noLeaf}`;
  const noRecord = there.find((one) => !kept.includes(one));
  if (noRecord !== undefined) return `a leaf without a record: ${noRecord}`;
  if (kept.length !== there.length) return `${kept.length} records of ${there.length} leaves`;
  const askew = records.find(({ ipa, size }, n) => ipa + size > (records[n + 1]?.ipa ?? LIMIT));
  return askew && `records overlap at ${say(askew)}`;
}

function wrongCounts(bed: PkvmBed, leaves: readonly Mapped[]): string | undefined {
  const counts = new Uint32Array(MEMORY.pages);
  for (const { pa, size } of leaves) {
    const first = (pa - MEMORY.pa) / PAGE;
    for (let n = first; n < first + size / PAGE; n++) counts[n] = (counts[n] ?? 0) + 1;
  }
  for (const [n, leavesOfPage] of counts.entries()) {
    const { count, host } = bed.record(n);
    const counted = host === SHARED_OWNED ? count : 0;
    if (counted !== leavesOfPage) return `page ${n} has ${leavesOfPage} leaves and counts ${count}`;
  }
  return undefined;
}

/** Who owns a page says so everywhere: host and hypervisor, and the table of the host. */
function wrongOwners(bed: PkvmBed, ffa: readonly number[]): string | undefined {
  for (let n = 0; n < MEMORY.pages; n++) {
    const { host, hyp, count, references } = bed.record(n);
    const entry = bed.hostEntry(n);
    const owner = isValid(entry) ? undefined : Number((entry & OWNER_FIELD) >> 2n);
    if (host === NOPAGE && owner !== OWNER.HYP && owner !== OWNER.GUEST)
      return `page ${n} is not the host's, and its stage 2 has 0x${entry.toString(16)}`;
    if (host !== NOPAGE && owner !== undefined && owner !== 0)
      return `page ${n} is the host's, and its stage 2 gives it to ${owner}`;
    if ((owner === OWNER.HYP) !== (hyp === OWNED)) return `page ${n}: owner ${owner}, hyp ${hyp}`;
    if (host === OWNED && (hyp !== NOPAGE || references !== 0))
      return `page ${n} is the host's alone: hyp ${hyp}, ${references} references`;
    if (host === SHARED_OWNED && count === 0 && hyp !== SHARED_BORROWED && !ffa.includes(n))
      return `page ${n} is shared by the host with nobody`;
    if (hyp === SHARED_BORROWED && (host !== SHARED_OWNED || count !== 0))
      return `page ${n} is borrowed by the hypervisor: host ${host}, count ${count}`;
  }
  return undefined;
}

/** A page of the host that nobody else has anything to do with. */
export function isHosts(bed: PkvmBed, n: number): boolean {
  const { host, hyp, references } = bed.record(n);
  return host === OWNED && hyp === NOPAGE && references === 0;
}

/** What is behind the slot of kvm_page_table_test: four kinds of host memory, and the leaf that stage 2 has for each. */
import type { Configuration } from "../harness/configurations.ts";
import { SIZES } from "../harness/slot/scene.ts";

export interface Backing {
  readonly name: string;
  readonly kind: "anonymous" | "thp" | "hugetlb";
  /** Page size of a hugetlb mapping. */
  readonly pageSize?: number;
  /** Level and bytes of the leaf. */
  readonly level: 1 | 2 | 3;
  readonly leaf: number;
  /** Bytes of the slot: scaled down from 1 GiB. */
  readonly size: number;
}

const TOUCHED = 4 * 2 ** 20;
/** Blocks of a slot, where that is more. */
const BLOCKS = 2;

/** The four. `touched`: bytes of the slot, if it holds two blocks. */
export function backings({ granule }: Configuration, touched = TOUCHED): Backing[] {
  const { page, pmd, pud } = SIZES[granule];
  const size = Math.max(touched, BLOCKS * pmd);
  const found: Backing[] = [
    { name: "anonymous", kind: "anonymous", level: 3, leaf: page, size: touched },
    { name: "transparent huge", kind: "thp", level: 2, leaf: pmd, size },
    { name: "hugetlb of level 2", kind: "hugetlb", pageSize: pmd, level: 2, leaf: pmd, size },
  ];
  if (pud !== undefined) {
    const huge = { level: 1, leaf: pud, size: 2 * pud } as const;
    found.push({ name: "hugetlb of level 1", kind: "hugetlb", pageSize: pud, ...huge });
  }
  return found;
}

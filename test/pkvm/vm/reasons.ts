/** Why tests of VMs over the host's own page tables do not apply to pKVM. */

export const IPA_SIZE = "the IPA size is the host's limit: there is nothing in between (P-8)";
export const NO_SPLIT = "nothing is split eagerly: the chunk size stays 0 (P-8)";
export const NO_IOREMAP = "ioremap is refused (P-8)";
export const NO_DEVICES = "share_guest takes R, W and X alone: guests have no device memory (P-5)";
export const ONE_BLOCK = "leaves are pages or blocks of level 2, none larger (P-2.20)";
export const MEMCACHE =
  "a vCPU's cache is the hypervisor's memcache: pages of the host (P-2.2, P-2.28)";
export const WRITE_SIDE = "a fault takes the write side of the mmu_lock (P-2.2)";
export const MAPPED_IS_AGAIN =
  "a mapping of the same size is there: again, without a look at it (P-2.24)";
export const BY_MAPPINGS = "mappings are unshared one by one, in the order of hypercalls (P-2.1)";
export const WHOLE_VMID = "a flush of a range is one of the VMID (P-8)";
export const PAGE_RECORDS = "a machine needs memory for what it notes of each page";
export const NO_HDBSS =
  "hardware's dirty state is not for guests of a hypervisor: the bit is in its tables";
export const NO_MEMORY = "what is no memory of the machine cannot be shared (P-4.2)";
export const PAGES_ALONE = "the seed shares pages alone (P-2.20)";

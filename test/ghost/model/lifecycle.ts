/** VMs and vCPUs: promised, made, loaded, put, torn down. */
import { admit, giveBack, pinOne, unpinOne } from "./host_hyp.ts";
import { unshareLeaf } from "./guest.ts";
import { type Page, SHARED_BORROWED } from "./memory.ts";
import { reclaimLeaf } from "./protected.ts";
import type { Rule, State } from "./state.ts";
import { Vm } from "./vm.ts";
import { EBUSY, EINVAL, ENOENT, ENOMEM, EPERM, below, word } from "./words.ts";

const MOST_VCPUS = 512n;
const CPUS = 512;
const PROTECTED = 1n;

export const protFinalize: Rule = (state, { args }) => {
  const cpu = below(word(args, 0), CPUS);
  if (cpu === undefined) return -EINVAL;
  if (state.final.has(cpu)) return -EPERM;
  state.final.add(cpu);
  return 0;
};

export const reserveVm: Rule = (state) => {
  const handle = state.freeHandle();
  if (handle === undefined) return -ENOMEM;
  state.reserved.add(handle);
  return handle;
};

export const unreserveVm: Rule = (state, { args }) => {
  if (!state.isReserved(word(args, 0))) return -EINVAL;
  state.reserved.delete(Number(word(args, 0)));
  return 0;
};

export const initVm: Rule = (state, { args }) => {
  const [asked, shared, struct, table, created, flags] = Array.from({ length: 6 }, (_, index) =>
    word(args, index),
  ) as [bigint, bigint, bigint, bigint, bigint, bigint];
  if (created === 0n || created > MOST_VCPUS) return -EINVAL;
  if ((flags & ~PROTECTED) !== 0n || (flags !== 0n && !state.has("PROTECTED_GUESTS")))
    return -EINVAL;
  if (asked !== 0n && !state.isReserved(asked)) return -EINVAL;
  const handle = asked === 0n ? state.freeHandle() : Number(asked);
  if (handle === undefined) return -ENOMEM;
  const pinned = pinOne(state, shared);
  if (pinned !== 0) return pinned;
  const page = state.memory.page(Number(shared)) as Page;
  const donated = admitForVm(state, struct, table);
  if (donated === undefined) {
    unpinOne(state, page);
    return -ENOMEM;
  }
  state.reserved.delete(handle);
  const isProtected = flags !== 0n;
  const start = { handle, isProtected, created: Number(created), shared: page, donated };
  state.vms.set(handle, new Vm(state.geometry, start));
  return handle;
};

/** The VM's struct and its entry table: both or none. */
function admitForVm(state: State, struct: bigint, table: bigint): readonly Page[] | undefined {
  const first = admit(state, struct);
  if (typeof first === "number") return undefined;
  const root = admit(state, table, BigInt(state.geometry.rootPages));
  if (typeof root !== "number") return [...first, ...root];
  for (const page of first) giveBack(state, page);
  return undefined;
}

export const initVcpu: Rule = (state, { args }) => {
  const vm = state.vm(word(args, 0));
  if (vm === undefined) return -ENOENT;
  if (vm.isDying || vm.vcpus.length === vm.created) return -EINVAL;
  const pages = admit(state, word(args, 1));
  if (typeof pages === "number") return pages;
  vm.donated.push(...pages);
  const index = vm.vcpus.length;
  vm.vcpus.push({ index, memcache: 0, loadedOn: undefined });
  return index;
};

export const vcpuLoad: Rule = (state, { cpu, args }) => {
  const vm = state.vm(word(args, 0));
  const vcpu = vm?.vcpus[below(word(args, 1), vm.vcpus.length) ?? -1];
  if (vm === undefined || vcpu === undefined || vm.isDying) return -EINVAL;
  if (vcpu.loadedOn !== undefined || state.loaded.has(cpu)) return -EINVAL;
  vcpu.loadedOn = cpu;
  vm.references++;
  state.loaded.set(cpu, { vm, vcpu });
  return 0;
};

export const vcpuPut: Rule = (state, { cpu }) => {
  const loaded = state.loaded.get(cpu);
  if (loaded === undefined) return -EINVAL;
  loaded.vcpu.loadedOn = undefined;
  loaded.vm.references--;
  state.loaded.delete(cpu);
  return 0;
};

export const startTeardown: Rule = (state, { args }) => {
  const vm = state.vm(word(args, 0));
  if (vm === undefined) return -ENOENT;
  if (vm.references > 0) return -EBUSY;
  vm.isDying = true;
  return 0;
};

/** Everything goes back: lent pages are unshared, given ones reclaimed, those that the VM was made of handed to the host. */
export const teardownVm: Rule = (state, { args }) => {
  const vm = state.vm(word(args, 0));
  if (vm === undefined) return -ENOENT;
  if (vm.references > 0) return -EBUSY;
  for (const leaf of [...vm.leaves.values()]) {
    if (leaf.state === SHARED_BORROWED) unshareLeaf(state, vm, leaf);
    else reclaimLeaf(state, vm, leaf);
  }
  for (const page of vm.donated) {
    giveBack(state, page);
    takeBack(state, page.pfn);
  }
  unpinOne(state, vm.shared);
  state.vms.delete(vm.handle);
  return 0;
};

/** The host's kernel has a page to hand out again, if it is of the memory that it does so from. */
export function takeBack(state: State, pfn: number): void {
  const { pa, size } = state.world.hostPages;
  const at = pfn * 2 ** state.world.pageShift;
  if (at >= pa && at < pa + size) state.hostFree.add(pfn);
}

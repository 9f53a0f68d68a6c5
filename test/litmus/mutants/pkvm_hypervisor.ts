/** Wrong versions of the hypervisor: what it does without a lock, and what it forgets. */
import type { Mutant } from "../mutants.ts";

const ownership: readonly Mutant[] = [
  {
    name: "transitions-without-locks",
    what: "pages go between host and hypervisor under no lock",
    file: "pkvm/hyp.ts",
    find: "return acquireBoth(m.word(HOST_LOCK), m.word(HYP_LOCK));",
    replace: "return MUTANT ? 0 : acquireBoth(m.word(HOST_LOCK), m.word(HYP_LOCK));",
    also: [
      {
        file: "pkvm/hyp.ts",
        find: "releaseBoth(m.word(HOST_LOCK), m.word(HYP_LOCK));",
        replace: "if (!MUTANT) ORIGINAL",
      },
    ],
  },
  {
    name: "shares-without-host-lock",
    what: "what is shared with a guest is counted under the guest's lock alone",
    file: "pkvm/guest.ts",
    find: "const result = acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = share(m, vm, vcpu, pfn, gfn, count, prot);\n  releaseBoth(m.word(HOST_LOCK), vm.lock);",
    replace:
      "const result = MUTANT ? acquire(vm.lock) : acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = share(m, vm, vcpu, pfn, gfn, count, prot);\n  if (MUTANT) release(vm.lock);\n  else releaseBoth(m.word(HOST_LOCK), vm.lock);",
    also: [
      {
        file: "pkvm/guest.ts",
        find: "const result = acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = unshare(m, vm, gfn << m.pageShift, count);\n  releaseBoth(m.word(HOST_LOCK), vm.lock);",
        replace:
          "const result = MUTANT ? acquire(vm.lock) : acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = unshare(m, vm, gfn << m.pageShift, count);\n  if (MUTANT) release(vm.lock);\n  else releaseBoth(m.word(HOST_LOCK), vm.lock);",
      },
    ],
  },
  {
    name: "owned-at-first-unshare",
    what: "the host has a page again when the first of its leaves went",
    file: "pkvm/guest.ts",
    find: "if (!left) setHostState(page, OWNED);",
    replace: "if (MUTANT || !left) setHostState(page, OWNED);",
  },
  {
    name: "block-count-off-by-one",
    what: "the last page of what is unshared counts on",
    file: "pkvm/guest.ts",
    find: "const left = leaves(page) - 1;",
    replace: "const left = leaves(page) - (MUTANT && page == last - 8 ? 0 : 1);",
  },
  {
    name: "idmap-without-lock",
    what: "an abort of the host is handled without the host's lock",
    file: "pkvm/host.ts",
    find: "const result = acquire(m.word(HOST_LOCK));\n  if (result != 0) return result;\n  const status = mapAround(m, pa);\n  release(m.word(HOST_LOCK));",
    replace:
      "const result = MUTANT ? 0 : acquire(m.word(HOST_LOCK));\n  if (result != 0) return result;\n  const status = mapAround(m, pa);\n  if (!MUTANT) release(m.word(HOST_LOCK));",
  },
  {
    name: "relax-by-plain-store",
    what: "permissions are relaxed without the guest's lock, by a store over whatever is there",
    file: "pkvm/guest.ts",
    find: "if (acquire(vm.lock) != 0) return -ETIMEDOUT;\n  const result = relaxPermissions(vm.pgt, gfn << m.pageShift, prot);\n  completeTlbi(vm.pgt);\n  release(vm.lock);",
    replace:
      "if (!MUTANT && acquire(vm.lock) != 0) return -ETIMEDOUT;\n  const result = relaxPermissions(vm.pgt, gfn << m.pageShift, prot);\n  completeTlbi(vm.pgt);\n  if (!MUTANT) release(vm.lock);",
    also: [
      {
        file: "pkvm/el1/operate.ts",
        find: "const refused = enter(pgt, READ_SIDE);\n  if (refused != 0) return refused;\n  return end(pgt, relaxOf(pgt, ia, prot, vcpu));",
        replace:
          "const refused = enter(pgt, MUTANT ? 0 /* NO_LOCK */ : READ_SIDE);\n  if (refused != 0) return refused;\n  return end(pgt, relaxOf(pgt, ia, prot, vcpu));",
      },
      {
        file: "single.ts",
        find: "next != old && slots.compareExchange(slot, old, next) != old",
        replace: "(MUTANT ? (atomic.store<u64>(slot, next), false) : (ORIGINAL))",
      },
    ],
  },
];

const lives: readonly Mutant[] = [
  {
    name: "teardown-ignores-references",
    what: "a VM ends although somebody has it",
    file: "pkvm/vms.ts",
    find: "if (referencesOf(vm) != references) return -EBUSY;",
    replace: "if (!MUTANT && referencesOf(vm) != references) return -EBUSY;",
  },
  {
    name: "teardown-without-flush",
    what: "a VM ends, its leaves with it, and no TLB is told",
    file: "pkvm/vm_life.ts",
    find: "takeLeaves(m, vm);",
    replace: "if (!MUTANT) ORIGINAL",
    also: [
      {
        file: "maintenance.ts",
        find: "owe();\n  if (pgt.events & WATCHED) announce(VMALLS12E1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, ALL_THREADS);",
        replace:
          "owe();\n  if (!MUTANT && pgt.events & WATCHED) announce(VMALLS12E1, LEVEL_UNKNOWN, pgt.vmid, 0, 0, 0, ALL_THREADS);",
      },
    ],
  },
  {
    name: "teardown-without-hyp-locks",
    what: "a VM is taken out of the table, and apart, under no lock",
    file: "pkvm/vm_life.ts",
    find: "if (acquire(word) != 0) return -ETIMEDOUT;\n  let result = lockBoth(m);\n  if (result == 0) {\n    result = takeOut(m, handle, <u32>isKept);\n    if (result == 0) empty(m, held, isKept);\n    unlockBoth(m);\n  }\n  release(word);",
    replace:
      "if (!MUTANT && acquire(word) != 0) return -ETIMEDOUT;\n  let result = MUTANT ? 0 : lockBoth(m);\n  if (result == 0) {\n    result = takeOut(m, handle, <u32>isKept);\n    if (result == 0) empty(m, held, isKept);\n    if (!MUTANT) unlockBoth(m);\n  }\n  if (!MUTANT) release(word);",
  },
  {
    name: "load-without-lock",
    what: "a vCPU is loaded without the table's lock",
    file: "pkvm/vcpus.ts",
    find: "const word = m.word(VM_TABLE_LOCK);\n  if (acquire(word) != 0) return -ETIMEDOUT;\n  const vm = find(m, handle);\n  let result = -EINVAL;",
    replace:
      "const word = m.word(VM_TABLE_LOCK);\n  if (!MUTANT && acquire(word) != 0) return -ETIMEDOUT;\n  const vm = find(m, handle);\n  let result = -EINVAL;",
    also: [
      {
        file: "pkvm/vcpus.ts",
        find: "atomic.store<u32>(thread, <u32>changetype<usize>(vcpu), T_LOADED);\n    result = 0;\n  }\n  release(word);",
        replace:
          "atomic.store<u32>(thread, <u32>changetype<usize>(vcpu), T_LOADED);\n    result = 0;\n  }\n  if (!MUTANT) release(word);",
      },
    ],
  },
  {
    name: "vcpus-without-lock",
    what: "a vCPU is made without the table's lock",
    file: "pkvm/vcpus.ts",
    find: "if (acquire(word) != 0) return -ETIMEDOUT;\n  const vm = find(m, handle);\n  const result = vm ? addVcpu(m, vm, pfn) : -ENOENT;\n  release(word);",
    replace:
      "if (!MUTANT && acquire(word) != 0) return -ETIMEDOUT;\n  const vm = find(m, handle);\n  const result = vm ? addVcpu(m, vm, pfn) : -ENOENT;\n  if (!MUTANT) release(word);",
  },
];

const guests: readonly Mutant[] = [
  {
    name: "reclaim-without-poison",
    what: "the guest finds nothing in place of a page that was taken by force",
    file: "pkvm/guest_private.ts",
    find: "annotate(vm.pgt, ipa, m.pageSize, POISON, vm.cache);",
    replace: "annotate(vm.pgt, ipa, m.pageSize, MUTANT ? 0 : POISON, vm.cache);",
  },
  {
    name: "lends-without-locks",
    what: "a guest lends a page to the host under no lock",
    file: "pkvm/guest_private.ts",
    find: "const result = acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = lend(m, vm, gfn, lends);\n  releaseBoth(m.word(HOST_LOCK), vm.lock);",
    replace:
      "const result = MUTANT ? 0 : acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = lend(m, vm, gfn, lends);\n  if (!MUTANT) releaseBoth(m.word(HOST_LOCK), vm.lock);",
  },
  {
    name: "donation-without-host-lock",
    what: "a page is given to a guest under the guest's lock alone",
    file: "pkvm/guest_private.ts",
    find: "const result = acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = donate(m, vm, vcpu, pfn, gfn);\n  releaseBoth(m.word(HOST_LOCK), vm.lock);",
    replace:
      "const result = MUTANT ? acquire(vm.lock) : acquireBoth(m.word(HOST_LOCK), vm.lock);\n  if (result != 0) return result;\n  const status = donate(m, vm, vcpu, pfn, gfn);\n  if (MUTANT) release(vm.lock);\n  else releaseBoth(m.word(HOST_LOCK), vm.lock);",
  },
];

export const hypervisorMutants: readonly Mutant[] = [...ownership, ...lives, ...guests];

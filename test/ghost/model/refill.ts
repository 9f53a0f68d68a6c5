/** The host pays for guests' tables: pages that it tops a vCPU's memcache up with (P-3.2). */
import { admit } from "./host_hyp.ts";
import type { Loaded, State } from "./state.ts";
import { ENOMEM, type Memcache } from "./words.ts";

const MOST_PAGES = 64n;

/** Admits pages, the last of the list first, until the vCPU has as many as the list had. 0, or -ENOMEM: those before a bad one stay. */
export function refill(state: State, { vm, vcpu }: Loaded, memcache?: Memcache): number {
  if (memcache === undefined) return 0;
  const { count, pages } = memcache;
  if (count > MOST_PAGES) return -ENOMEM;
  for (let left = Number(count); vcpu.memcache < count; left--) {
    const admitted = admit(state, pages[left - 1] ?? 0n);
    if (typeof admitted === "number") return -ENOMEM;
    vm.donated.push(...admitted);
    vcpu.memcache++;
  }
  return 0;
}

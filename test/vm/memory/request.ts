/** What VMs ask. Without the test runner: workers use it too. */
import type { BackingRequest } from "../../../src/vm/backing.ts";

/** A guest's access, as a VM asks. */
export function request(hva: number, write = false, vcpu = 0): BackingRequest {
  const rest = { exec: false, permission: false, ipa: 0, gfn: 0, slot: 0, readonly: false };
  return { hva, write, vcpu, ...rest };
}

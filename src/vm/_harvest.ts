/** What hardware has recorded of dirty pages (HDBSS) belongs to the log that is there now. */
import { VM_OPTION } from "./_abi.ts";
import type { VmPlace } from "./_place.ts";

/** Result word of vm_describe: VM_OPTION bits. */
const OPTIONS = 6;

/** Moves what CPUs of this thread have recorded into the log, before it is collected, begins or ends. */
export function harvest(place: VmPlace, operation: string): void {
  const { context, core, vcpus } = place;
  core.vm_describe(place.pointer);
  if ((context.resultNumber(OPTIONS) & VM_OPTION.HDBSS) === 0) return;
  for (const { livePointer } of vcpus) {
    place.done(core.vm_vcpu_harvest(livePointer), operation);
  }
}

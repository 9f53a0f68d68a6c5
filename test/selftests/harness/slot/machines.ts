/**
 * The machines of these tests. A large TLB here has 1,024 entries of each kind, which is more than they fill: every invalidation
 * looks at all of them.
 */
import type { Granule } from "../../../../src/index.ts";
import {
  type Configuration,
  type Selection,
  configuration,
  configurations,
} from "../configurations.ts";

const LARGE = { sets: 128, ways: 8 };

/** One machine with hardware access flags and a large TLB. */
export function machineOf(granule: Granule, ipaBits = 40): Configuration {
  return { ...configuration(granule, ipaBits), tlb: LARGE };
}

/** Machines of a selection by name, for tables of tests; without one all 90. */
export function machines(selection: Selection = {}): (readonly [string, Configuration])[] {
  return configurations(selection).map((machine) => {
    const tlb = machine.tlb !== false && machine.tlb.sets > LARGE.sets ? LARGE : machine.tlb;
    return [machine.name, { ...machine, tlb }];
  });
}

/** Every page size with every IPA size, access flags and TLB, but not all combinations: 42 machines. `ha`: with these alone. */
export function chosenMachines(
  ha: readonly boolean[] = [true, false],
): (readonly [string, Configuration])[] {
  const sizes = machines({ ha, ipaBits: [36, 44, 48, 52], tlbs: ["TLB of 8"] });
  return [...machines({ ha, ipaBits: [40] }), ...sizes];
}

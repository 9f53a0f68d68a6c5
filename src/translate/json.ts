/** A translation as JSON. Addresses, registers and descriptors are strings in hex: they do not all fit a number. */
import { Fault } from "../fault.ts";
import { describeSyndrome } from "../syndrome.ts";
import type { Probe } from "../vcpu.ts";
import { type WalkDocument, outputSpace } from "./document.ts";
import { descriptorWords, hex } from "./words.ts";

export function walkJson(document: WalkDocument): object {
  const { source, machine, access, el, virtual, address, steps, outcome } = document;
  return {
    ...{ source, machine, access, el, virtual, address: hex(address) },
    steps: steps.map(({ kind, stage, level, address: of, pa, value, fields, unknown }) => ({
      ...{ kind, stage, level, address: hex(of), pa: hex(pa), value: hex(value) },
      fields: plain(fields),
      text: descriptorWords(fields, outputSpace(document, stage)),
      ...(unknown && { unknown }),
    })),
    outcome: outcome instanceof Fault ? faultJson(outcome, document.takenTo) : probeJson(outcome),
  };
}

function probeJson({ pa, ipa, ...rest }: Probe): object {
  return { translated: true, pa: hex(pa), ipa: hex(ipa), ...rest };
}

function faultJson(fault: Fault, el: number | undefined): object {
  const { type, fsc, level, stage, s1ptw, write, fetch, esr, far, hpfar, ipa } = fault;
  return {
    ...{ translated: false, type, fsc, level, stage, s1ptw, write, fetch, el },
    ...{ esr: hex(esr), far: hex(far), hpfar: hex(hpfar) },
    ...(ipa === undefined ? {} : { ipa: hex(ipa) }),
    text: describeSyndrome(esr),
  };
}

/** Fields of descriptors that are addresses. */
const ADDRESSES = new Set(["value", "next", "oa"]);

function plain(fields: object): object {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, ADDRESSES.has(name) ? hex(value) : value]),
  );
}

/** Accesses of guests: each goes on until it succeeds, and must. */
import { Access, type VmVcpu } from "../../../../src/index.ts";
import type { Program } from "./turns.ts";

/** Aborts of one access: a host that invalidates and is then not scheduled makes a guest try very often. */
export const PATIENT = { attempts: 2 ** 20 };

/** Translates as a load or store would; the physical address. */
export function touch(vcpu: VmVcpu, ipa: number, access: number): number {
  const result = vcpu.run(() => vcpu.cpu.translate(ipa, access), PATIENT);
  if (typeof result !== "number") {
    throw new Error(`vCPU ${vcpu.id} at ${ipa.toString(16)}: ${JSON.stringify(result)}`);
  }
  return result;
}

/** Stores 8 bytes. */
export function store(vcpu: VmVcpu, ipa: number, value: number): void {
  const result = vcpu.run(() => vcpu.cpu.write64(ipa, BigInt(value)), PATIENT);
  if (result === undefined) return;
  throw new Error(`vCPU ${vcpu.id} at ${ipa.toString(16)}: ${JSON.stringify(result)}`);
}

/** Loads 8 bytes. */
export function load(vcpu: VmVcpu, ipa: number): number {
  const result = vcpu.run(() => vcpu.cpu.read64(ipa), PATIENT);
  if (typeof result === "bigint") return Number(result);
  throw new Error(`vCPU ${vcpu.id} at ${ipa.toString(16)}: ${JSON.stringify(result)}`);
}

/** A pass over addresses, as a program. */
export function* pass(vcpu: VmVcpu, addresses: Iterable<number>, access: number): Program {
  for (const ipa of addresses) {
    touch(vcpu, ipa, access);
    yield;
  }
}

/** Even vCPUs write, odd ones read. */
export function roleOf({ id }: VmVcpu): number {
  return id % 2 === 0 ? Access.Write : Access.Read;
}

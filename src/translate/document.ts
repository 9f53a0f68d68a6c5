/**
 * One translation from beginning to end, as `stage2 translate` shows it: every descriptor fetched, every one that hardware
 * updates, and how it ended. Addresses are those of the machine that the tables come from.
 */
import { Access } from "../access.ts";
import type { Descriptor } from "../descriptor.ts";
import { Fault } from "../fault.ts";
import type { Probe, Vcpu, WalkStep } from "../vcpu.ts";

/** What is done at the address. */
export type AccessName = "read" | "write" | "fetch";

const ACCESS: Readonly<Record<AccessName, number>> = {
  read: Access.Read,
  write: Access.Write,
  fetch: Access.Fetch,
};

/** A descriptor that was fetched, or updated by hardware. */
export interface StepDocument {
  readonly kind: "read" | "update";
  readonly stage: 1 | 2;
  readonly level: number;
  /** Input address of the stage: for stage 2 an IPA, that of the access or of a stage-1 descriptor. */
  readonly address: bigint;
  /** Physical address of the descriptor. */
  readonly pa: number;
  readonly value: bigint;
  readonly fields: Descriptor;
  /** It does not lie in a dumped page: what is there is not known, and reads as zero. */
  readonly unknown?: true;
}

/** A translation. */
export interface WalkDocument {
  /** The dump or trace, and what of it translates. */
  readonly source: string;
  readonly machine: string;
  readonly access: AccessName;
  /** Exception level of the access, and that which a fault was taken to. */
  readonly el: number;
  readonly takenTo?: number;
  /** The address is a virtual one: stage 1 is on. */
  readonly virtual: boolean;
  readonly address: bigint;
  readonly steps: readonly StepDocument[];
  /** What it came to. */
  readonly outcome: Probe | Fault;
}

/** What {@link walk} is told beside the address. */
export interface WalkRequest {
  readonly source: string;
  readonly machine: string;
  readonly access: AccessName;
  readonly virtual: boolean;
  readonly address: bigint;
  /** The vCPU's EL1 is EL2 in the machine. */
  readonly standsForEl2?: boolean | undefined;
}

/** Translates on a vCPU. Its hardware updates descriptors, as the access would. */
export function walk(vcpu: Vcpu, request: WalkRequest): WalkDocument {
  const { standsForEl2, address, ...told } = request;
  const access = ACCESS[request.access];
  const { steps, outcome } = vcpu.trace(address, access);
  const shown = (el: number): number => (standsForEl2 && el === 1 ? 2 : el);
  const faulted = outcome instanceof Fault;
  return {
    ...{ ...told, address, el: shown(vcpu.el) },
    ...(faulted ? { takenTo: shown(outcome.el) } : {}),
    steps: steps.map(stepDocument),
    // A translation that worked does so again: what it permits is told by a look that changes nothing.
    outcome: faulted ? outcome : vcpu.probe(address, access),
  };
}

function stepDocument({ kind, stage, level, address, pa, value, fields }: WalkStep): StepDocument {
  return { kind, stage, level, address: BigInt.asUintN(64, BigInt(address)), pa, value, fields };
}

/** What the descriptors of a stage lead to: stage 1 to intermediate addresses, where there is a stage 2. */
export function outputSpace(document: WalkDocument, stage: 1 | 2): "IPA" | "PA" {
  const twoStages = document.steps.some((step) => step.stage === 2);
  return stage === 1 && twoStages ? "IPA" : "PA";
}

/** One translation step by step: the events of its walk, taken out of the engine's log again. */
import { RECORD_BYTES, STATE, VCPU_EVENT, VCPU_EVENTS } from "./_abi.ts";
import { EventRecord, decodeEvent } from "./_event_record.ts";
import type { VcpuEvent } from "./_vcpu_event.ts";
import type { VcpuCore } from "./_vcpu_core.ts";
import { stage1Form, stage2Form } from "./_vcpu_form.ts";
import { readRegisters } from "./_vcpu_registers.ts";
import { type Descriptor, type DescriptorOptions, decodeDescriptor } from "./descriptor.ts";
import { EBUSY, Stage2Error } from "./errors.ts";
import type { Fault } from "./fault.ts";

/** A step of a walk. */
export interface WalkStep {
  /** Hardware fetched a descriptor, or updated it. */
  readonly kind: "read" | "update";
  readonly stage: 1 | 2;
  /** Level of the table. */
  readonly level: number;
  /** Physical address of the descriptor. */
  readonly pa: number;
  /** What it holds; after an update, what it holds now. */
  readonly value: bigint;
  /** Input address of that stage: a VA, kernel addresses as negative numbers, or an IPA. */
  readonly address: number;
  /** The value in plain fields. */
  readonly fields: Descriptor;
  /** Of an update: it set the access flag; it made the leaf writable. */
  readonly accessFlag: boolean;
  readonly dirty: boolean;
}

/** A translation and how it came about. */
export interface Trace {
  readonly steps: readonly WalkStep[];
  /** The physical address, or the fault. */
  readonly outcome: number | Fault;
}

/** The longest walk fetches 24 descriptors and may update each: more than this a log cannot be short of. */
const ENOUGH_EVENTS = 64;
const PSTATE_EL2 = 1 << 3;

/** Runs `translate` with events on, and collects them. */
export function traced(cpu: VcpuCore, translate: () => number | Fault): Trace {
  const { core, words } = cpu;
  if (core.events_count() > 0) {
    throw new Stage2Error("EBUSY", "trace: events wait to be drained", {}, EBUSY);
  }
  if (core.events_capacity() < ENOUGH_EVENTS) {
    throw new Stage2Error("BAD_OPTION", "trace: the event log is too short", {
      eventCapacity: core.events_capacity(),
    });
  }
  const logged = words[STATE.EVENTS / 4] as number;
  setEvents(cpu, VCPU_EVENTS.WALKS | VCPU_EVENTS.UPDATES);
  try {
    const outcome = translate();
    return { steps: takeSteps(cpu), outcome };
  } finally {
    setEvents(cpu, logged);
  }
}

function setEvents(cpu: VcpuCore, events: number): void {
  cpu.words[STATE.EVENTS / 4] = events;
  cpu.configure();
}

/** The steps of this vCPU in the log. They leave it, unless somebody else logged meanwhile: then all stays. */
function takeSteps(cpu: VcpuCore): WalkStep[] {
  const { core } = cpu;
  const count = core.events_count();
  const own = [...waiting(cpu, count)].filter((record) => isStep(record, cpu.number));
  const steps = own.map((record) => stepOf(cpu, decodeEvent(record) as Step));
  if (own.length === count) core.events_consume(count);
  return steps;
}

function* waiting({ core, context }: VcpuCore, count: number): Generator<EventRecord> {
  const base = core.events_pointer() >>> 0;
  const tail = core.events_tail();
  const mask = core.events_capacity() - 1; // a power of two
  for (let i = 0; i < count; i++) {
    const record = new EventRecord(context.u32, (base + ((tail + i) & mask) * RECORD_BYTES) / 4);
    if (record.isWritten) yield record;
  }
}

type Step = Extract<VcpuEvent, { kind: "hwRead" | "hwUpdate" }>;

function isStep({ kind, aux }: EventRecord, number: number): boolean {
  return (kind === VCPU_EVENT.HW_READ || kind === VCPU_EVENT.HW_UPDATE) && aux >>> 4 === number;
}

function stepOf(cpu: VcpuCore, event: Step): WalkStep {
  const { stage, slot: pa, pte: value, address } = event;
  const level = event.level as number;
  return {
    kind: event.kind === "hwRead" ? "read" : "update",
    ...{ stage, level, pa, value, address },
    fields: decodeDescriptor(value, formOf(cpu, stage, level, address)),
    accessFlag: event.kind === "hwUpdate" && event.accessFlag,
    dirty: event.kind === "hwUpdate" && event.dirty,
  };
}

function formOf(cpu: VcpuCore, stage: 1 | 2, level: number, address: number): DescriptorOptions {
  const registers = readRegisters(cpu);
  const form = stage === 2 ? stage2Form(registers) : stage1Form(registers, isEl2(cpu), address < 0);
  return { stage, level, ...form };
}

function isEl2({ pstate }: VcpuCore): boolean {
  return (pstate & PSTATE_EL2) !== 0;
}

/** What a test and its workers say to each other. */
import type { EngineHandle } from "../../../../src/engine.ts";
import type { GuestMemoryHandle } from "../../../../src/vm/memory/guest_memory.ts";
import type { VmHandle } from "../../../../src/vm/vm.ts";

export const WORKERS = 3;
export const HVA = 0x7f00_0000_0000;
export const IPA = 0x4000_0000;
export const PAGE = 4096;
export const BLOCK = 512 * PAGE;
/** Pages that the programs use, and the area's size. */
export const PAGES = 1024;
export const SIZE = PAGES * PAGE;

export type ProgramName = "storm" | "churn" | "fill" | "slowFill" | "letters" | "guests";

/** What a worker starts with. */
export interface Start {
  readonly engine: EngineHandle;
  readonly ram: GuestMemoryHandle;
  /** A VM with the memory in one slot, for guests. */
  readonly vm: VmHandle | undefined;
  /** 1 to WORKERS. */
  readonly id: number;
  readonly program: ProgramName;
  /** Word 0: workers that are ready; they start together. */
  readonly control: Int32Array;
}

/** Numbers that a program brings back. */
export type Result = Readonly<Record<string, number | number[]>>;

/** What a test and the threads of its vCPUs say to each other. */
import type {
  EngineHandle,
  GuestMemoryHandle,
  VcpuOptions,
  VmHandle,
} from "../../../../src/index.ts";

/** What a thread starts with. */
export interface Start {
  readonly engine: EngineHandle;
  readonly vm: VmHandle;
  readonly ram: GuestMemoryHandle;
  readonly id: number;
  readonly cpu: VcpuOptions;
  readonly slot: { readonly ipa: number; readonly hva: number; readonly size: number };
  readonly page: number;
  /** Words that all threads see: {@link WORD}. */
  readonly control: Int32Array;
  /** One byte per page of the slot, for what guests report. */
  readonly pages: Uint8Array;
}

/** A program to run, by its name; or the end. */
export type Task = { readonly program: string; readonly args: unknown } | "end";

/** What came of it. */
export type Answer = { readonly value: unknown } | { readonly error: string };

/** Words of `control`. */
export const WORD = {
  /** Guests are to leave their loops. */
  OVER: 0,
  /** The round of dirty logging. */
  ROUND: 1,
  /** Guests are to stand still where they may be stopped. */
  STOPPING: 2,
  /** How many do. */
  PARKED: 3,
  /** Number of the harvest that is asked for, and how many guests have done it. */
  HARVEST: 4,
  HARVESTED: 5,
  /** Entries of rings that were harvested. */
  ENTRIES: 6,
  /** How often a ring was full. */
  FULL: 7,
  /** Guests that are inside a program. */
  RUNNING: 8,
} as const;
export const WORDS = 16;

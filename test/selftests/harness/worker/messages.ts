/** What a test and the guest in its worker say to each other. */
import type {
  EngineHandle,
  GuestMemoryHandle,
  VcpuOptions,
  VmHandle,
} from "../../../../src/index.ts";
import type { Program } from "./programs.ts";

/** What a worker starts with. */
export interface Start {
  readonly engine: EngineHandle;
  readonly vm: VmHandle;
  readonly memory: GuestMemoryHandle;
  readonly cpu: VcpuOptions;
  readonly board: Int32Array;
  readonly program: Program;
}

/** What it ends with. */
export interface Report {
  readonly end: string;
  readonly failures: readonly string[];
  readonly aborts: number;
  /** Exits of MMIO, and those that no test expects: in words. */
  readonly mmio: number;
  readonly strange: readonly string[];
}

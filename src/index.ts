/** Arm's stage-2 MMU as a library. Start at {@link Engine.create}. */
export { TableCache, type CacheOptions } from "./cache.ts";
export type { Annotation, Empty, Entry, Leaf, Locked, Table } from "./decode.ts";
export type { DumpDocument, EntryRange } from "./dump.ts";
export {
  Engine,
  type EngineHandle,
  type EngineOptions,
  type MemoryUsage,
  type Mode,
  type Region,
} from "./engine.ts";
export { type EntryOptions, isReadonly, mkwrite, setReadonly, testAndClearYoung } from "./entry.ts";
export { type ErrnoCode, type ErrorCode, type MisuseCode, Stage2Error } from "./errors.ts";
export type { Event, EventLevel, VisitKind } from "./_event_record.ts";
export type { EventLog } from "./events.ts";
export {
  type DecodeOptions,
  type FakePgd,
  type FakePgdOptions,
  type Geometry,
  type VtcrOptions,
  decodeEntry,
  fakePgd,
  geometry,
  vtcr,
} from "./geometry.ts";
export {
  type HypEntry,
  type HypEntryRange,
  type HypMapRequest,
  type HypOptions,
  HypStage1,
  type VirtualRange,
} from "./hyp.ts";
export type { EntryFilter } from "./iterate.ts";
export { Prot, WalkFlag } from "./prot.ts";
export type { Address, Range } from "./range.ts";
export type { RawStage2 } from "./raw.ts";
export type {
  Allocation,
  ForcePages,
  MapRequest,
  OwnerRequest,
  RelaxRequest,
  SplitRequest,
  UnlinkedRequest,
} from "./requests.ts";
export { Stage2, type Stage2Handle, type Stage2Options } from "./stage2.ts";
export type { EventGroup, Granule, TableOptions, WalkContext } from "./_options.ts";
export type { Counters, Shape, TableUsage } from "./_table.ts";
export type { UnlinkedTable } from "./_unlinked.ts";
export type { Stage2View } from "./_view.ts";
export type { Visit, Visitor, WalkRequest } from "./_walk.ts";

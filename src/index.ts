/** Arm's stage-2 MMU as a library. Start at {@link Engine.create}. */
export { Access } from "./access.ts";
export { type CasemateOptions, casemateTrace } from "./casemate/trace.ts";
export {
  type BbmLevel,
  Checker,
  type CheckerOptions,
  type Observed,
  type WatchedTable,
} from "./checker/checker.ts";
export { type Agent, type Finding, type Rule, RULES, Violation } from "./checker/rules.ts";
export { TableCache, type CacheOptions } from "./cache.ts";
export type { Annotation, Empty, Entry, Leaf, Locked, Table } from "./decode.ts";
export {
  type Descriptor,
  type DescriptorOptions,
  type InvalidDescriptor,
  type Stage1Leaf,
  type Stage2Leaf,
  type TableDescriptor,
  type TableLimits,
  decodeDescriptor,
} from "./descriptor.ts";
export type { DumpDocument, EntryRange } from "./dump.ts";
export {
  type AttachOptions,
  Engine,
  type EngineHandle,
  type EngineOptions,
  type GuestRam,
  type MemoryUsage,
  type Mode,
  type Region,
} from "./engine.ts";
export { type EntryOptions, isReadonly, mkwrite, setReadonly, testAndClearYoung } from "./entry.ts";
export { type ErrnoCode, type ErrorCode, type MisuseCode, Stage2Error } from "./errors.ts";
export type { Event, EventLevel, VisitKind } from "./_event_record.ts";
export type { EventLog } from "./events.ts";
export { type AccessShape, Fault, type FaultType } from "./fault.ts";
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
export {
  type HypLayoutOptions,
  HypMappings,
  type HypMappingsOptions,
  type HypStack,
  type Hypercall,
  type IdmapPage,
  type LinearMap,
  type PhysicalRange,
} from "./hyp_mappings.ts";
export type { EntryFilter } from "./iterate.ts";
export type { MemoryMap, MemorySegment, SegmentRequest } from "./memory_map.ts";
export { type LockOptions, type LockSide, MmuLock } from "./mmu_lock.ts";
export {
  type Caller,
  type HypercallInfo,
  type HypercallName,
  HYPERCALLS,
  NOT_SUPPORTED,
} from "./pkvm/hypercalls.ts";
export { HypMemcache } from "./pkvm/memcache.ts";
export type { MemoryRegion, PhysicalSpan } from "./pkvm/memory.ts";
export {
  type Generation,
  GENERATIONS,
  type PkvmFeatures,
  type PkvmOptions,
} from "./pkvm/options.ts";
export type {
  AccessState,
  PageOwner,
  PkvmPageState,
  PkvmRange,
  PkvmRegion,
} from "./pkvm/page_state.ts";
export {
  type CallOptions,
  type HostAbortOutcome,
  Pkvm,
  type PkvmHandle,
  type PkvmVcpuState,
  type PkvmVmState,
  type Word,
} from "./pkvm/pkvm.ts";
export type { RawPkvmStage2 } from "./pkvm/raw.ts";
export {
  type PkvmMapping,
  PkvmStage2,
  type PkvmStage2Handle,
  type PkvmStage2Options,
  type PkvmStage2Statistics,
} from "./pkvm/stage2.ts";
export { Prot, WalkFlag } from "./prot.ts";
export type { Address, Range } from "./range.ts";
export type { RawOperations, RawStage2 } from "./raw.ts";
export type {
  Allocation,
  ForcePages,
  MapRequest,
  OwnerRequest,
  RelaxRequest,
  SplitRequest,
  UnlinkedRequest,
} from "./requests.ts";
export { type AttachedOptions, Stage2, type Stage2Handle, type Stage2Options } from "./stage2.ts";
export {
  type AbortSyndrome,
  type AccessSyndrome,
  type Syndrome,
  decodeSyndrome,
  describeSyndrome,
} from "./syndrome.ts";
export type {
  AccessOptions,
  AccessSize,
  AtomicOperation,
  AtOperation,
  Batch,
  ByLevel,
  ByStage,
  EngineTlbiRequest,
  Par,
  Probe,
  ProbedStage,
  Registers,
  TlbiOperation,
  TlbiRequest,
  TlbShape,
  Trace,
  Vcpu,
  VcpuEventGroup,
  VcpuOptions,
  VcpuStatistics,
  VcpuTlbiRequest,
  VirtualAddress,
  WalkStep,
} from "./vcpu.ts";
export type { TlbEntryKind, VcpuEvent } from "./_vcpu_event.ts";
export type { GuestTable } from "./_guest_table.ts";
export type { HypView } from "./_hyp_view.ts";
export type { Stage2Operations } from "./_operations.ts";
export type { EventGroup, Granule, TableOptions, WalkContext } from "./_options.ts";
export type { WaitedFor } from "./_outcome.ts";
export type { ReclaimedThread, ThreadInfo, ThreadLock, ThreadState } from "./threads.ts";
export type { Counters, Shape, TableUsage } from "./_table.ts";
export type { UnlinkedTable } from "./_unlinked.ts";
export type { Stage2View } from "./_view.ts";
export type { Visit, Visitor, WalkRequest } from "./_walk.ts";
export type {
  Backing,
  BackingAnswer,
  BackingFacts,
  BackingRequest,
  HostPage,
  PoisonedPage,
} from "./vm/backing.ts";
export type { Bus, MmioSize } from "./vm/bus.ts";
export { Cap } from "./vm/caps.ts";
export type { ClearRequest, DirtyLog } from "./vm/dirty_log.ts";
export type { DirtyEntry, DirtyRing } from "./vm/dirty_ring.ts";
export type { FaultOutcome, VmEvent } from "./vm/event.ts";
export type { SlotStatistics } from "./vm/look.ts";
export {
  type AreaKind,
  type AreaRequest,
  type Content,
  type Filled,
  GuestMemory,
  type GuestMemoryCounters,
  type GuestMemoryHandle,
  type GuestMemoryOptions,
  type HostRangeRequest,
  type MissingAnswer,
  type MissingFault,
  type MissingHook,
  type MissingMode,
  type MissingRegistration,
  type PageState,
  type PageStateName,
} from "./vm/memory/guest_memory.ts";
export {
  type Memslot,
  type MemslotChange,
  MemslotFlag,
  type MemslotRegion,
} from "./vm/memslots.ts";
export type { HostRange } from "./vm/notifiers.ts";
export type {
  AbortOutcome,
  DirtyRingFull,
  Exit,
  GuestAbort,
  Inject,
  MmioExit,
  NisvExit,
  Poisoned,
  Resume,
  SError,
  Skip,
} from "./vm/outcome.ts";
export type { AbortStatistics } from "./vm/statistics.ts";
export type {
  AsyncOptions,
  LibraryCall,
  RunOptions,
  VcpuLoad,
  VmVcpu,
  VmVcpuOptions,
} from "./vm/vcpu.ts";
export type { DirtyLogOptions } from "./vm/_vm_dirty.ts";
export type { IoremapRequest } from "./vm/_vm_slots.ts";
export type { Progress, WorkOptions, WorkPhase } from "./vm/_work.ts";
export type {
  Vm,
  VmAttachOptions,
  VmEventGroup,
  VmHandle,
  VmOptions,
  VmState,
  VmStatistics,
} from "./vm/vm.ts";

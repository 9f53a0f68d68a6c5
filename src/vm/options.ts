/** What a VM is made with: names on the outside, the core's numbers inside. */
import { idRegisters, optionBit, pageShift, eventMask } from "../_options.ts";
import { type Stage2Options, VM_TABLE_OPTIONS, stage2Bits } from "../_stage2_options.ts";
import { Stage2Error } from "../errors.ts";
import { choiceOption, flagOption, integerOption, knownOptions } from "../range.ts";
import type { Pkvm } from "../pkvm/pkvm.ts";
import { VM_EVENT, VM_OPTION } from "./_abi.ts";
import { type OnMachine, onMachine } from "./_machine.ts";
import { type Backing, checkedBacking } from "./backing.ts";
import { type Bus, checkedBus } from "./bus.ts";

/** Options of its page table, as {@link Stage2Options} describes them. */
type TablePart = Pick<Stage2Options, (typeof VM_TABLE_OPTIONS)[number]>;

/** The machine, what is behind it, and what its VM logs. */
export interface VmOptions extends TablePart {
  /** IPA size: the machine type of `KVM_CREATE_VM`. 32 to {@link hostIpaBits}; 0 or absent: 40. */
  ipaBits?: number;
  /** The raw machine type, instead of `ipaBits`: any bit outside 7:0 is refused (`EINVAL`). */
  type?: number;
  /**
   * The host's limit of the IPA size. Default 48; 52 with `lpa2`, and with 64K pages unless `pa52` is off; what `parange` covers,
   * if that is less.
   */
  hostIpaBits?: number;
  /** Whether the page table is built for 52-bit physical addresses. Default: as `lpa2`; with 64K pages on. */
  pa52?: boolean;
  /** What is behind host virtual addresses. Without it every fault on memory is refused (`EFAULT`). */
  memory?: Backing;
  /** Devices that the hypervisor has itself. */
  bus?: Bus;
  /** Protected mode (pKVM): the IPA size is the host's, nothing is mapped by {@link Vm.ioremap}. Default off. */
  protected?: boolean;
  /**
   * The machine whose hypervisor keeps the page table: this VM's operations are hypercalls. Granule, features of the CPU, and the IPA
   * size are the machine's; `protected` is on.
   */
  pkvm?: Pkvm;
  /** With `pkvm`: memory is donated to the guest, not shared. Needs the machine's feature `protectedGuests`. Default off. */
  protectedGuest?: boolean;
  /** The guest may tag memory (FEAT_MTE). Default off. */
  mte?: boolean;
  /** The CPU needs no instruction-cache maintenance (CTR_EL0.DIC): pages are executable from the start. Default off. */
  dic?: boolean;
  /**
   * A late read fault never takes the write permission from a page that was aged meanwhile. Off: what Linux 6.12 does,
   * which compares the access flag too. Default on.
   */
  strictFaults?: boolean;
  /** Groups of events that the VM logs into {@link Engine.events}. Default none. */
  vmEvents?: readonly VmEventGroup[];
}

/**
 * Groups of a VM's events: aborts; what they had mapped; operations on ranges; pages that became dirty; changes of memslots;
 * invalidations by the host.
 */
export type VmEventGroup = keyof typeof GROUPS;

const bit = (kind: number): number => 1 << (kind - VM_EVENT.FAULT);

const GROUPS = {
  fault: bit(VM_EVENT.FAULT),
  map: bit(VM_EVENT.MAP) | bit(VM_EVENT.RELAX) | bit(VM_EVENT.MKYOUNG),
  range:
    bit(VM_EVENT.UNMAP) |
    bit(VM_EVENT.WRPROTECT) |
    bit(VM_EVENT.AGE) |
    bit(VM_EVENT.SPLIT) |
    bit(VM_EVENT.FLUSH) |
    bit(VM_EVENT.FLUSH_TLB),
  dirty: bit(VM_EVENT.DIRTY),
  slot: bit(VM_EVENT.SLOT),
  invalidate: bit(VM_EVENT.INVALIDATE),
} as const;

const GROUP_NAMES = Object.keys(GROUPS) as VmEventGroup[];

/** Bits of event groups. @throws Stage2Error `BAD_OPTION` */
export function vmEventMask(groups: readonly VmEventGroup[] = []): number {
  if (!Array.isArray(groups)) {
    throw new Stage2Error("BAD_OPTION", "vmEvents must be an array of groups", {
      vmEvents: groups,
    });
  }
  return groups.reduce(
    (mask, name) => mask | GROUPS[choiceOption("vmEvents", name as VmEventGroup, GROUP_NAMES)],
    0,
  );
}

const OWN_OPTIONS = [
  "ipaBits",
  "type",
  "hostIpaBits",
  "memory",
  "bus",
  "protected",
  "pkvm",
  "protectedGuest",
  "mte",
  "dic",
  "strictFaults",
  "vmEvents",
];

/** Options as `vm_create` and `vm_init` take them. */
export interface VmSettings {
  readonly pageShift: 12 | 14 | 16;
  readonly hostBits: number;
  /** VM_OPTION bits of what it is; and of what the core makes, which on a pKVM machine follows the rules of protected mode. */
  readonly options: number;
  readonly coreOptions: number;
  /** The machine that it is on. */
  readonly machine: OnMachine | undefined;
  /** Machine type. */
  readonly type: number;
  /** OPTION bits of the page table, its event mask, its ID registers. */
  readonly table: number;
  readonly tableEvents: number;
  readonly registers: readonly [mmfr0: bigint, mmfr1: bigint];
  readonly events: number;
  readonly memory: Backing | undefined;
  readonly bus: Bus | undefined;
}

/** Output sizes by PARange code (Arm ARM, ID_AA64MMFR0_EL1). */
const PA_BITS = [32, 36, 40, 42, 44, 48, 52];

/** Checks names and values. @throws Stage2Error `BAD_OPTION` */
export function checkedVmOptions(given: VmOptions): VmSettings {
  knownOptions("vm", given, [...VM_TABLE_OPTIONS, ...OWN_OPTIONS]);
  const machine = onMachine(given);
  const options: VmOptions = { ...given, ...machine?.decided };
  const shift = pageShift(options.granule);
  const table = tablePart(options, shift);
  const strict = flagOption("strictFaults", options.strictFaults ?? true);
  const bits = stage2Bits({ ...table, locking: true, keepPermissions: strict });
  const hostBits = hostLimit(options, shift, table.pa52 ?? false);
  return {
    pageShift: shift,
    hostBits,
    options: optionBits({ ...given, protected: machine?.isProtected ?? given.protected ?? false }),
    coreOptions: optionBits(options),
    machine,
    type: machineType(options),
    table: bits,
    tableEvents: eventMask(options.events ?? []),
    registers: idRegisters(hostBits, options),
    events: vmEventMask(options.vmEvents),
    memory: checkedBacking(options.memory),
    bus: checkedBus(options.bus),
  };
}

/** The options of the page table alone, as `engine.stage2` takes them. */
function tablePart(options: VmOptions, shift: number): TablePart {
  const part: Record<string, unknown> = {};
  for (const name of VM_TABLE_OPTIONS) {
    if (options[name] !== undefined) part[name] = options[name];
  }
  const lpa2 = flagOption("lpa2", options.lpa2 ?? false);
  part["pa52"] = flagOption("pa52", options.pa52 ?? (lpa2 || shift === 16));
  return part as TablePart;
}

function hostLimit(options: VmOptions, shift: number, pa52: boolean): number {
  const most = options.lpa2 === true || (shift === 16 && pa52) ? 52 : 48;
  const { hostIpaBits, parange } = options;
  const covered =
    parange === undefined ? most : (PA_BITS[integerOption("parange", parange, 0, 6)] as number);
  const limit = Math.min(most, covered);
  return hostIpaBits === undefined ? limit : integerOption("hostIpaBits", hostIpaBits, 32, limit);
}

function machineType({ type, ipaBits }: VmOptions): number {
  if (type === undefined) return integerOption("ipaBits", ipaBits ?? 0, 0, 255);
  if (ipaBits === undefined) return integerOption("type", type, 0, 2 ** 32 - 1);
  throw new Stage2Error("BAD_OPTION", "the machine type is the IPA size: one of them", {
    type,
    ipaBits,
  });
}

function optionBits(options: VmOptions): number {
  return (
    optionBit(options, "protected", VM_OPTION.PROTECTED) |
    optionBit(options, "mte", VM_OPTION.MTE) |
    optionBit(options, "dic", VM_OPTION.DIC)
  );
}

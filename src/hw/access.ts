/** Performs the access of a vector on a vCPU, and says what happened in the words of the recordings. */
import { Access } from "../access.ts";
import { Fault } from "../fault.ts";
import type { Par, Vcpu } from "../vcpu.ts";
import type { Answer, Kind, Vector } from "./format.ts";

/** What happened: the fields of an {@link Answer} that can be seen on a vCPU. */
export type Observed = Omit<Answer, "after">;

/** What the kinds of access need of the translation. */
const NEEDS: Readonly<Record<string, number>> = {
  ...{ read: Access.Read, readb: Access.Read, ldar: Access.Read, ldp: Access.Read },
  ...{ write: Access.Write, writeb: Access.Write, stlr: Access.Write, fetch: Access.Fetch },
  ...{ ldxr: Access.Read, ldadd: Access.ReadWrite, swp: Access.ReadWrite, cas: Access.ReadWrite },
};

/** Translations that a kind of access makes, in order; none for AT instructions, which are no access. */
export function translationsOf(kind: Kind): readonly number[] {
  if (isAddressTranslation(kind)) return [];
  return kind === "excl" ? [Access.Read, Access.Write] : [NEEDS[kind] as number];
}

export function isAddressTranslation(kind: Kind): boolean {
  return kind.startsWith("at_");
}

/** Translates for the access, without performing it. Where a load would find no memory, no store follows it. */
export function translate(
  vcpu: Vcpu,
  { kind, address }: Vector,
  isMemory: (pa: number) => boolean,
): Observed {
  let pa = NaN;
  for (const access of translationsOf(kind)) {
    const found = vcpu.translate(address, access);
    if (found instanceof Fault) return fromFault(found, kind);
    pa = found;
    if (!isMemory(pa)) break;
  }
  return { ok: true, trapped: false, pa: BigInt(pa) };
}

/** Performs the access, or executes the AT instruction. */
export function perform(vcpu: Vcpu, vector: Vector): Observed {
  const { kind, address } = vector;
  if (isAddressTranslation(kind)) return executeAt(vcpu, vector);
  const result = (ACCESSES[kind] as Perform)(vcpu, vector);
  if (result instanceof Fault) return fromFault(result, kind);
  const found = vcpu.probe(address, translationsOf(kind).at(-1) as number);
  return {
    ok: true,
    trapped: false,
    ...(found instanceof Fault ? {} : { pa: BigInt(found.pa) }),
    ...result,
  };
}

/** What an access gives besides its physical address. */
type Result = { readonly value?: bigint; readonly stxr?: number } | Fault;

type Perform = (vcpu: Vcpu, vector: Vector) => Result;

const ACCESSES: Readonly<Record<string, Perform>> = {
  read: (vcpu, { address }) => loaded(vcpu.read64(address)),
  ldar: (vcpu, { address }) => loaded(vcpu.read64(address)),
  readb: (vcpu, { address }) => loaded(vcpu.read8(address)),
  ldp: (vcpu, { address }) => {
    const first = loaded(vcpu.read64(address));
    const second = first instanceof Fault ? first : vcpu.read64(address + 8n);
    return second instanceof Fault ? second : first;
  },
  write: (vcpu, { address, data }) => vcpu.write64(address, data) ?? {},
  stlr: (vcpu, { address, data }) => vcpu.write64(address, data) ?? {},
  writeb: (vcpu, { address, data }) => vcpu.write8(address, Number(data & 0xffn)) ?? {},
  fetch: (vcpu, { address }) => loaded(vcpu.fetch(address)),
  ldadd: (vcpu, { address, data }) => loaded(vcpu.atomic("add", address, 8, data)),
  swp: (vcpu, { address, data }) => loaded(vcpu.atomic("swp", address, 8, data)),
  cas: (vcpu, { address, data }) => loaded(vcpu.compareAndSwap(address, 8, 0n, data)),
  ldxr: (vcpu, { address }) => loaded(vcpu.loadExclusive(address, 8)),
  excl: (vcpu, { address, data }) => {
    const first = loaded(vcpu.loadExclusive(address, 8));
    if (first instanceof Fault) return first;
    const stored = vcpu.storeExclusive(address, 8, data);
    return stored instanceof Fault ? stored : { ...first, stxr: stored ? 0 : 1 };
  },
};

function loaded(value: number | bigint | Fault): Result {
  return value instanceof Fault ? value : { value: BigInt(value) };
}

function executeAt(vcpu: Vcpu, { kind, address }: Vector): Observed {
  const name = kind.slice("at_".length).toUpperCase() as Parameters<Vcpu["at"]>[0];
  const result = vcpu.at(name, address);
  return result instanceof Fault ? fromFault(result, kind) : fromPar(result, address);
}

/** PAR_EL1 names the page; the offset is that of the address. */
function fromPar(result: Par, address: bigint): Observed {
  const { ok, par } = result;
  if (ok) return { ok, trapped: false, par, pa: (par & PAR_PA) | (address & PAGE_OFFSET) };
  const { fst, stage, s1ptw } = result;
  return {
    ...{ ok, trapped: false, par, s1ptw: Number(s1ptw) },
    ...(fst === undefined ? {} : { fsc: fst }),
    ...(stage === undefined ? {} : { stage }),
  };
}

const PAGE_OFFSET = 0xfffn;
const PAR_PA = 0x000f_ffff_ffff_f000n;

/** The recordings' names for kinds of faults. */
const TYPES: Readonly<Record<string, string>> = {
  translation: "translation",
  addressSize: "address_size",
  accessFlag: "access_flag",
  permission: "permission",
  externalAbortOnWalk: "external_walk",
  externalAbort: "external",
};

function fromFault(fault: Fault, kind: Kind): Observed {
  const { fsc, level, stage, el, far, hpfar } = fault;
  return {
    ok: false,
    trapped: isAddressTranslation(kind),
    ...{ type: TYPES[fault.type] ?? fault.type, fsc, stage, el, far, hpfar },
    ...(level === undefined ? {} : { level }),
    s1ptw: Number(fault.s1ptw),
    wnr: Number(fault.write),
    esr: syndromeOf(fault, kind).esr,
  };
}

/** Loads and stores of one register say so in the syndrome. Data is in x0, stored from x2. */
function syndromeOf(fault: Fault, kind: Kind): Fault {
  const size = SINGLE_REGISTER[kind];
  if (size === undefined) return fault;
  return fault.withSyndrome({
    size,
    register: fault.write ? 2 : 0,
    sixtyFour: size === 8,
    acquireRelease: kind === "ldar" || kind === "stlr",
  });
}

const SINGLE_REGISTER: Readonly<Record<string, 1 | 8>> = {
  ...{ read: 8, write: 8, ldar: 8, stlr: 8 },
  ...{ readb: 1, writeb: 1 },
};

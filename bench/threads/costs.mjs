// @ts-check
/**
 * What threads cost: each operation in an engine that was never shared, in a shared one where nobody else is, and with
 * other threads that sleep, poll in brackets or take the same lock.
 */
import { Access, Engine, Prot, WalkFlag } from "stage2";
import { GIB, PA_OFFSET, PAGE, PARANGE_48 } from "../bed.mjs";
import { Crew } from "./crew.mjs";

/** @typedef {import("stage2").Engine} AnyEngine */
/** @typedef {{ engine: Engine, s2: import("stage2").Stage2, vcpu: import("stage2").Vcpu, bare: import("stage2").Vcpu }} Bed */

/**
 * @typedef {object} Cost
 * @property {string} name
 * @property {string} setting who else is there
 * @property {number} nsPerOp
 */

const IPA = 4 * GIB;
const PAGES = 256;
const TURNS = 20;
const GUEST_RAM = { pa: IPA + PA_OFFSET, size: PAGES * PAGE };
const SHARED = WalkFlag.SHARED | WalkFlag.HANDLE_FAULT;

/** One turn does PAGES operations. @type {Record<string, (bed: Bed) => void>} */
const OPERATIONS = {
  "translate, TLB hit": ({ vcpu }) => each((ipa) => vcpu.translate(ipa, Access.Read)),
  "translate, walk": ({ bare }) => each((ipa) => bare.translate(ipa, Access.Read)),
  "load, TLB hit": ({ vcpu }) => each((ipa) => vcpu.read32(ipa)),
  "enter and exit": ({ vcpu }) => each(() => (vcpu.enter(), vcpu.exit())),
  lookup: ({ s2 }) => each((ipa) => s2.raw.lookup(ipa)),
  "read side, taken and released": ({ s2 }) =>
    each(() => (s2.mmuLock.acquireRead(), s2.mmuLock.releaseRead())),
  "write side, taken and released": ({ s2 }) =>
    each(() => (s2.mmuLock.acquireWrite(), s2.mmuLock.releaseWrite())),
  "mkyoung (read side inside)": ({ s2 }) => each((ipa) => s2.raw.mkyoung(ipa)),
  "testClearYoung (write side inside)": ({ s2 }) =>
    each((ipa) => s2.raw.testClearYoung(ipa, PAGE, 0)),
  "tlbFlushRange, with completion": ({ s2 }) => each((ipa) => s2.raw.tlbFlushRange(ipa, PAGE)),
  "unmap and map of a page, with completion": ({ s2 }) =>
    each((ipa) => {
      s2.raw.unmap(ipa, PAGE);
      s2.raw.map(ipa, PAGE, ipa + PA_OFFSET, Prot.RW, SHARED);
    }),
  "the same as its table's only page, with a grace period": ({ s2 }) =>
    each((_, i) => {
      const ipa = IPA + GIB + i * 2 ** 21;
      s2.raw.map(ipa, PAGE, ipa + PA_OFFSET, Prot.RW, SHARED);
      s2.raw.unmap(ipa, PAGE);
    }),
};

/** Threads beside: roles of the crew, and how many. @type {readonly { setting: string, roles: readonly import("./crew.mjs").RoleName[], locking: boolean }[]} */
const SETTINGS = [
  { setting: "shared, no lock", roles: [], locking: false },
  { setting: "shared", roles: [], locking: true },
  { setting: "1 asleep", roles: ["idle"], locking: true },
  { setting: "7 asleep", roles: Array(7).fill("idle"), locking: true },
  { setting: "1 polls", roles: ["bracket"], locking: true },
];

/** @param {(done: number, total: number) => void} progress @returns {Promise<Cost[]>} */
export async function costs(progress) {
  const names = Object.keys(OPERATIONS);
  const total = 1 + SETTINGS.length;
  progress(0, total);
  const alone = await Engine.create({ guestRam: GUEST_RAM });
  measureAll(alone, false, names); // compiles
  const found = measureAll(alone, false, names).map((cost) => ({
    ...cost,
    setting: "never shared",
  }));
  alone.dispose();
  for (const [i, { setting, roles, locking }] of SETTINGS.entries()) {
    progress(i + 1, total);
    const engine = await Engine.create({ guestRam: GUEST_RAM, patience: 20_000 });
    void engine.handle; // from now on it is shared
    found.push(...(await beside(engine, setting, roles, locking, names)));
  }
  progress(total, total);
  return names.flatMap((name) => found.filter((cost) => cost.name === name));
}

/** @param {Engine} engine @param {string} setting @param {readonly import("./crew.mjs").RoleName[]} roles @param {boolean} locking @param {string[]} names */
async function beside(engine, setting, roles, locking, names) {
  const crew = new Crew(engine);
  const s2 = engine.stage2({ parange: PARANGE_48 });
  const jobs = roles.map((role) => ({ role, data: { s2: s2.handle } }));
  /** @type {Cost[]} */
  let found = [];
  await crew.beside(jobs, () => {
    found = measureAll(engine, locking, names).map((cost) => ({ ...cost, setting }));
  });
  await crew.dismiss();
  s2.dispose();
  engine.dispose();
  return found;
}

/** @param {Engine} engine @param {boolean} locking @param {string[]} names */
function measureAll(engine, locking, names) {
  const s2 = engine.stage2({ parange: PARANGE_48, locking });
  s2.map({ ipa: IPA, size: PAGES * PAGE, pa: IPA + PA_OFFSET, prot: Prot.RW, forcePages: true });
  const bed = { engine, s2, vcpu: engine.vcpu(s2), bare: engine.vcpu(s2, { tlb: false }) };
  const found = names.map((name) => ({ name, nsPerOp: best(() => OPERATIONS[name](bed)) }));
  bed.vcpu.dispose();
  bed.bare.dispose();
  s2.dispose();
  return found;
}

/** Shortest turn, ns per operation. @param {() => void} turn */
function best(turn) {
  let least = Infinity;
  for (let i = 0; i < 3 * TURNS; i++) {
    const from = process.hrtime.bigint();
    turn();
    const ns = Number(process.hrtime.bigint() - from);
    if (i >= TURNS) least = Math.min(least, ns);
  }
  return least / PAGES;
}

/** @param {(ipa: number, i: number) => unknown} operation */
function each(operation) {
  for (let i = 0; i < PAGES; i++) operation(IPA + i * PAGE, i);
}

/** Operations down, settings across. @param {readonly Cost[]} found @param {(lines: string[][]) => string} formatTable @param {(value: number) => string} figure */
export function formatCosts(found, formatTable, figure) {
  const settings = ["never shared", ...SETTINGS.map(({ setting }) => setting)];
  const names = [...new Set(found.map(({ name }) => name))];
  return formatTable([
    ["ns per operation", "", ...settings],
    ...names.map((name) => [
      name,
      "",
      ...settings.map((setting) => {
        const cost = found.find((one) => one.name === name && one.setting === setting);
        return cost ? figure(cost.nsPerOp) : "-";
      }),
    ]),
  ]);
}

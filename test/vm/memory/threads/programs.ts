/** What workers do to a guest memory at the same time. Each says what it saw. */
import type { HostPage } from "../../../../src/vm/backing.ts";
import type { GuestMemory, HostRange } from "../../../../src/vm/memory/guest_memory.ts";
import { request } from "../request.ts";
import type { Vm } from "../../../../src/vm/vm.ts";
import { BLOCK, HVA, IPA, PAGE, PAGES, type ProgramName, type Result, SIZE } from "./messages.ts";

export const PROGRAMS: Record<
  ProgramName,
  (ram: GuestMemory, id: number, vm: Vm | undefined) => Result | Promise<Result>
> = { storm, churn, fill, slowFill, letters, guests };

const ROUNDS = 4000;

/** Everybody writes to every page, in an order of its own: who gets which frame. */
function storm(ram: GuestMemory, id: number): Result {
  const frames: number[] = [];
  for (let n = 0; n < PAGES; n++) {
    const at = (n * (2 * id + 1)) % PAGES;
    frames[at] = (ram.resolve(request(HVA + at * PAGE, true, id)) as HostPage).pa;
  }
  return { frames };
}

/** Accesses beside every kind of change, each told to nobody: only the accounts are looked at. */
function churn(ram: GuestMemory, id: number): Result {
  const random = randomFrom(id);
  let done = 0;
  const changes: ((range: HostRange) => unknown)[] = [
    (range) => ram.punch(range),
    (range) => ram.share(range),
    (range) => ram.protect({ ...range, writable: random(2) === 0 }),
    (range) => ram.collapse({ hva: HVA, size: SIZE + 0 * range.size }),
    (range) => ram.splitHuge(range),
    (range) => (
      ram.unmap(range),
      ram.map({ ...range, kind: random(2) === 0 ? "thp" : "anonymous" })
    ),
  ];
  for (let round = 0; round < ROUNDS; round++) {
    const hva = HVA + random(PAGES) * PAGE;
    const size = Math.min((1 + random(64)) * PAGE, HVA + SIZE - hva);
    if (random(8) !== 0) ram.resolve(request(hva, random(2) === 0, id));
    else if (quietly(() => changes[random(changes.length)]?.({ hva, size }))) done++;
  }
  return { done };
}

/** Others may have unmapped, mapped, or used up what a change needs: that is an error, and nothing has changed. */
function quietly(change: () => unknown): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (["EFAULT", "EEXIST", "ENOMEM"].includes((error as { code: string }).code)) return false;
    throw error;
  }
}

/** Everybody reads every page; a hook of each thread brings them. */
function fill(ram: GuestMemory, id: number): Result {
  let asked = 0;
  ram.onMissing({ hva: HVA, size: SIZE }, () => {
    asked++;
    return new Uint8Array(PAGE).fill(0xab);
  });
  const into = new Uint8Array(PAGE);
  let wrong = 0;
  for (let n = 0; n < PAGES; n++) {
    const at = (n * (2 * id + 1)) % PAGES;
    into.fill(0);
    if (ram.read(HVA + at * PAGE, into) !== true) wrong++;
    if (!into.every((byte) => byte === 0xab)) wrong++;
  }
  return { asked, wrong };
}

/** The same for a few pages with hooks that take their time, and more accesses than one at a time. */
async function slowFill(ram: GuestMemory): Promise<Result> {
  let asked = 0;
  ram.onMissing({ hva: HVA, size: SIZE }, async ({ hva }) => {
    asked++;
    await new Promise((resolve) => setTimeout(resolve, 5));
    return new Uint8Array(PAGE).fill(1 + (((hva - HVA) / PAGE) & 63));
  });
  const reads = Array.from({ length: 32 }, async (_, n) => {
    const into = new Uint8Array(8);
    const there = await ram.read(HVA + n * PAGE, into);
    return there && into.every((byte) => byte === 1 + (n & 63));
  });
  const right = (await Promise.all(reads)).filter(Boolean).length;
  return { asked, right };
}

/** Each has 8 bytes of its own in every page, and must find there what it wrote last, wherever the page has gone meanwhile. */
function letters(ram: GuestMemory, id: number): Result {
  const random = randomFrom(id);
  const last = new Map<number, number>();
  let wrong = 0;
  let changes = 0;
  const moves: ((range: HostRange) => unknown)[] = [
    (range) => ram.share(range),
    (range) => ram.splitHuge(range),
    ({ hva }) => ram.collapse({ hva: hva - (hva % BLOCK), size: BLOCK }),
  ];
  for (let round = 0; round < ROUNDS; round++) {
    const page = HVA + random(PAGES) * PAGE;
    const mine = page + 8 * id;
    const found = new Uint8Array(8);
    if (ram.read(mine, found) !== true) wrong++;
    if (found.some((byte) => byte !== (last.get(page) ?? 0))) wrong++;
    const value = random(256);
    if (ram.write(mine, new Uint8Array(8).fill(value)) !== true) wrong++;
    last.set(page, value);
    if (random(16) !== 0) continue;
    changes++;
    moves[random(moves.length)]?.({ hva: page, size: PAGE });
  }
  return { wrong, changes };
}

/**
 * Guests of one VM: each has a word of its own in every page, and must find there what it wrote last, while the host moves pages.
 * In the second half of the memory the host also drops them: there it may find zero.
 */
function guests(ram: GuestMemory, id: number, vm: Vm | undefined): Result {
  if (vm === undefined) throw new Error("guests need a VM");
  ram.addVm(vm);
  const vcpu = vm.createVcpu({ id });
  const random = randomFrom(id);
  const last = new Map<number, number>();
  let wrong = 0;
  const moves: ((hva: number, n: number) => unknown)[] = [
    (hva) => ram.share({ hva, size: PAGE }),
    (hva) => ram.splitHuge({ hva, size: PAGE }),
    (hva) => ram.collapse({ hva: hva - (hva % BLOCK), size: BLOCK }),
    (hva, n) => n >= PAGES / 2 && ram.punch({ hva, size: PAGE }),
  ];
  const attempts = 2 ** 20;
  for (let round = 0; round < ROUNDS; round++) {
    const n = random(PAGES);
    const word = IPA + n * PAGE + 4 * id;
    const found = vcpu.run(() => vcpu.cpu.read32(word), { attempts });
    if (found !== (last.get(n) ?? 0) && !(n >= PAGES / 2 && found === 0)) wrong++;
    const value = 1 + random(2 ** 20);
    vcpu.run(() => vcpu.cpu.write32(word, value), { attempts });
    last.set(n, value);
    if (random(16) === 0) moves[random(moves.length)]?.(HVA + n * PAGE, n);
  }
  const { retries, blocks } = vcpu.statistics;
  vcpu.dispose();
  return { wrong, retries, blocks };
}

/** Numbers that look random, the same for the same seed. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed * 0x9e37_79b9;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return Math.floor(((state >>> 8) / 2 ** 24) * limit);
  };
}

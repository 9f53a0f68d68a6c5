/** Page tables as a casemate trace shows them: where VTTBR_EL2 points, under which VMID, and whose lock guards them. */
import type { Tree } from "../checker/_shadow.ts";
import { Stage2Error } from "../errors.ts";
import type { Records } from "./_records.ts";

/** What a thread broke and has not flushed yet. */
export interface Broken {
  readonly guest: Guest;
  readonly ipa: number;
  readonly end: number;
  readonly level: number;
  /** It was a table with leaves below it. */
  readonly wide: boolean;
}

/** A thread of the log. */
export class Thread {
  readonly number: number;
  current: Guest | undefined;
  broken: Broken[] = [];

  constructor(number: number) {
    this.number = number;
  }
}

/** A stage 2. */
export interface Guest {
  readonly tree: Tree;
  readonly vmid: number;
  /** What VTTBR_EL2 holds: the root, or where that is several tables one that points at them. */
  readonly top: number;
  /** Level of the root; known when it is stored to for the first time. */
  level: number | undefined;
  holder: Thread | undefined;
}

/** Above every physical address that the engine can place tables at. */
const MADE_UP = 2 ** 47;
const PAGE = 4096;
const ENTRY_BYTES = 8;
const TABLE = 3n;
const VMID_SHIFT = 48n;
/** VTCR_EL2 of 4K tables: RES1, and input size and start level by level of the top. */
const VTCR: Readonly<Record<number, bigint>> = {
  0: 0x8000_0090n, // 48 bits
  1: 0x8000_0059n, // 39 bits
  2: 0x8000_0022n, // 30 bits
};

/** Makes guests known, and gives threads what they need to work on one. */
export class Guests {
  readonly #records: Records;
  readonly #locks: boolean;
  readonly #guests = new Map<Tree, Guest>();
  readonly #threads = new Map<number, Thread>();
  #made = 0;
  #hasIdle = false;

  constructor(records: Records, locks: boolean) {
    this.#records = records;
    this.#locks = locks;
  }

  /** A thread by its number in the log; in the trace they count from 0 in order of appearance. */
  thread(number: number): Thread {
    let thread = this.#threads.get(number);
    if (thread === undefined) this.#threads.set(number, (thread = new Thread(this.#threads.size)));
    return thread;
  }

  add(tree: Tree): Guest {
    const concatenated = tree.rootBytes > PAGE;
    const top = concatenated ? MADE_UP + ++this.#made * PAGE : tree.root;
    const guest = { tree, vmid: this.#freeVmid(), top, level: undefined, holder: undefined };
    this.#guests.set(tree, guest);
    return guest;
  }

  of(tree: Tree | undefined): Guest | undefined {
    return tree && this.#guests.get(tree);
  }

  get all(): Iterable<Guest> {
    return this.#guests.values();
  }

  /** The thread has the guest's context loaded and holds its lock. `level`: of the root, if the guest is new. */
  *enter(thread: Thread, guest: Guest, level?: number): Generator<string, void, undefined> {
    if (guest.level === undefined) yield* this.#introduce(thread, guest, level);
    if (thread.current !== guest) yield* this.#load(thread, guest);
    if (!this.#locks || guest.holder === thread) return;
    yield* this.#unlock(guest);
    guest.holder = thread;
    yield this.#records.lock(thread.number, true, guest.top);
  }

  /** Nobody works on any guest any more. */
  *leave(): Generator<string, void, undefined> {
    for (const guest of this.#guests.values()) yield* this.#unlock(guest);
  }

  /** The guest is no more: no CPU has it loaded, and its tables are just memory again. */
  *retire(thread: Thread, guest: Guest): Generator<string, void, undefined> {
    yield* this.#unlock(guest);
    for (const each of this.#threads.values()) if (each.current === guest) yield* this.#idle(each);
    if (guest.level !== undefined)
      yield this.#records.register(thread.number, "vtcr_el2", this.#vtcr(guest));
    for (const each of this.#threads.values()) {
      each.broken = each.broken.filter((broken) => broken.guest !== guest);
    }
    if (guest.level !== undefined) {
      yield this.#records.hint(thread.number, "release_table", guest.top, 0);
    }
    this.#guests.delete(guest.tree);
  }

  /** The page that stands above a concatenated root, if one was made up. */
  madeUp({ top, tree, level }: Guest): number | undefined {
    return top === tree.root || level === undefined ? undefined : top;
  }

  *#introduce(thread: Thread, guest: Guest, level?: number): Generator<string, void, undefined> {
    const above = guest.top === guest.tree.root ? level : (level ?? 0) - 1;
    if (level === undefined || VTCR[above as number] === undefined) {
      throw new Stage2Error("BAD_INPUT", "casemate has no words for this root", {
        root: guest.tree.root,
        level,
      });
    }
    guest.level = level;
    const made = this.madeUp(guest);
    if (made !== undefined) yield* this.#makeUp(thread, guest, made);
    yield this.#records.hint(thread.number, "set_root_lock", guest.top, guest.top);
  }

  /** casemate knows no concatenated tables: one above them, as software with a deeper walk keeps it, says the same. */
  *#makeUp(thread: Thread, { tree }: Guest, made: number): Generator<string, void, undefined> {
    yield this.#records.init(thread.number, made, PAGE);
    for (let i = 0; i * PAGE < tree.rootBytes; i++) {
      const value = BigInt(tree.root + i * PAGE) | TABLE;
      yield this.#records.write(thread.number, made + i * ENTRY_BYTES, value, "plain");
    }
  }

  *#load(thread: Thread, guest: Guest): Generator<string, void, undefined> {
    const vttbr = (BigInt(guest.vmid) << VMID_SHIFT) | BigInt(guest.top);
    thread.current = guest;
    yield this.#records.register(thread.number, "vtcr_el2", this.#vtcr(guest));
    yield this.#records.register(thread.number, "vttbr_el2", vttbr);
    yield this.#records.isb(thread.number);
  }

  /** The thread loads the context of no guest: VMID 0, a table with nothing in it. */
  *#idle(thread: Thread): Generator<string, void, undefined> {
    if (!this.#hasIdle) yield this.#records.init(thread.number, MADE_UP, PAGE);
    this.#hasIdle = true;
    thread.current = undefined;
    yield this.#records.register(thread.number, "vttbr_el2", BigInt(MADE_UP));
    yield this.#records.isb(thread.number);
  }

  /** For the level that the top is at. casemate takes it from the thread that acts, whatever guest it acts on. */
  #vtcr({ top, tree, level }: Guest): bigint {
    return VTCR[(level as number) - (top === tree.root ? 0 : 1)] as bigint;
  }

  *#unlock(guest: Guest): Generator<string, void, undefined> {
    if (guest.holder === undefined) return;
    yield this.#records.lock(guest.holder.number, false, guest.top);
    guest.holder = undefined;
  }

  #freeVmid(): number {
    const taken = new Set([...this.#guests.values()].map(({ vmid }) => vmid));
    let vmid = 1;
    while (taken.has(vmid)) vmid++;
    return vmid;
  }
}

/**
 * A call on its way beside others. It goes on turn by turn: up to the access that the recorded call made then, and over
 * it. Reads that nobody recorded, because they only look again at what was just there, are passed over.
 */
import { type Stop, WAIT_ANSWER } from "../agents/stop.ts";
import { ACCESS } from "../instrument/step.ts";
import type { Access } from "./accesses.ts";
import type { TableAddresses } from "./addresses.ts";
import type { Hand } from "./crew.ts";
import type { Observation } from "./observed.ts";

/** A call that makes more stops than this does not end. */
const MOST_STOPS = 100_000;

const KINDS = {
  read: ACCESS.LOAD,
  look: ACCESS.LOAD,
  exchange: ACCESS.COMPARE_EXCHANGE,
  store: ACCESS.STORE,
} as const;

const VERBS: Readonly<Record<number, string>> = {
  [ACCESS.LOAD]: "read",
  [ACCESS.STORE]: "store to",
  [ACCESS.READ_MODIFY_WRITE]: "change",
  [ACCESS.COMPARE_EXCHANGE]: "exchange",
};

export class Flight {
  readonly hand: Hand;
  readonly observation: Observation;
  readonly #addresses: TableAddresses;
  readonly #seen: () => void;
  #stops = 0;
  #ended = false;
  #doubt: string | undefined;

  /** @param seen  called whenever the call may have logged something */
  constructor(hand: Hand, addresses: TableAddresses, observation: Observation, seen: () => void) {
    this.hand = hand;
    this.observation = observation;
    this.#addresses = addresses;
    this.#seen = seen;
  }

  /** Starts the call; it stops ahead of its first access to an entry. */
  start(call: () => number): void {
    this.#go(() => this.hand.agent.start(call));
  }

  /** Why it is not as it was recorded, if that is known. */
  get doubt(): string | undefined {
    return this.#doubt;
  }

  /** Whether the call has returned. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Nothing that the calls beside it did makes this access possible. */
  cannot(access: Access): void {
    this.#doubt ??= `no order of the calls that overlap explains that it ${describe(access)}`;
  }

  /** Makes the access that is next in the record. A call that wants another one is astray, and goes on alone. */
  turn(access: Access): void {
    if (this.#isAt(access)) return this.#advance();
    if (access.what.kind === "look" || !this.hand.agent.busy) return;
    this.#passReads(access);
    if (this.#isAt(access)) this.#advance();
    else if (this.hand.agent.busy) this.#leaveCourse(`${describe(access)} then`);
  }

  /** The last turn is over: nothing but reads may be left. */
  finish(): void {
    this.#passReads();
    if (this.hand.agent.busy) this.#leaveCourse("returned");
  }

  #isAt({ entry, what }: Access): boolean {
    const { stop } = this.hand.agent;
    const pointer = this.#addresses.pointer(Number(entry));
    return stop !== undefined && stop.kind === KINDS[what.kind] && stop.address === pointer;
  }

  #passReads(until?: Access): void {
    const { agent } = this.hand;
    while (agent.stop?.kind === ACCESS.LOAD && !(until && this.#isAt(until))) this.#advance();
  }

  #leaveCourse(recorded: string): void {
    const { agent, context } = this.hand;
    const { kind, address } = agent.stop as Stop;
    const where = this.#addresses.text(context.physical(address));
    const wanted = `${VERBS[kind] ?? "touch"} entry ${where}`;
    this.#doubt ??= `it was about to ${wanted}, the recorded call ${recorded}`;
    while (agent.busy) this.#advance();
  }

  #advance(): void {
    this.#go(() => this.hand.agent.advance());
  }

  #go(on: () => void): void {
    const { agent } = this.hand;
    try {
      on();
      while (isWait(agent.stop) && !this.#isEndless()) agent.advance(answerTo(agent.stop));
      if (this.#isEndless()) throw new Error("the call does not end");
      this.#ended = !agent.busy;
    } catch (error) {
      agent.abandon();
      this.#doubt ??= `it fails: ${error instanceof Error ? error.message : String(error)}`;
    }
    this.#seen();
  }

  #isEndless(): boolean {
    return this.#stops++ > MOST_STOPS;
  }
}

/** Nobody goes on while it waits, so nobody wakes it; and nobody waits whom it could wake. */
function answerTo({ kind }: Stop): number {
  return kind === ACCESS.WAIT ? WAIT_ANSWER.TIMED_OUT : 0;
}

function isWait(stop: Stop | undefined): stop is Stop {
  return stop?.kind === ACCESS.WAIT || stop?.kind === ACCESS.NOTIFY;
}

/** What the recorded call did with the entry. */
function describe({ entry, what }: Access): string {
  switch (what.kind) {
    case "read":
      return `read ${what.value} from entry ${entry}`;
    case "look":
      return `${what.table ? "found a table" : "found no table"} in entry ${entry}`;
    case "exchange":
      return `${what.won ? "exchanged" : "failed to exchange"} ${what.old} in entry ${entry}`;
    case "store":
      return `stored ${what.value} to entry ${entry}`;
  }
}

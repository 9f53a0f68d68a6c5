/** The calls of a group, made by agents beside each other: one turn after the other, whoever's it is. */
import type { Engine } from "../engine.ts";
import type { Call } from "./calls.ts";
import { Crew } from "./crew.ts";
import type { Driver, Outcome } from "./driver.ts";
import { Flight } from "./flight.ts";
import { type Expectations, observe } from "./observed.ts";
import type { Step } from "./order.ts";
import type { Turn } from "./schedule.ts";

export class Overlap {
  readonly #crew: Crew;
  readonly #driver: Driver;
  readonly #flights = new Map<Call, Flight>();
  /** Calls that no agent was left for. */
  readonly #grounded = new Set<Call>();

  constructor(engine: Engine, driver: Driver) {
    this.#crew = new Crew(engine);
    this.#driver = driver;
  }

  /** Whether no call is on its way. */
  get quiet(): boolean {
    return this.#flights.size === 0;
  }

  /** Whether a call on this page table is on its way. */
  isInside(table: Call["table"]): boolean {
    return [...this.#flights.keys()].some((call) => call.table === table);
  }

  /** Makes the turn of a step. What came of the call, if that was its last. */
  turn(step: Step & { readonly turn: Turn }, expected: () => Expectations): Outcome | undefined {
    const { call, turn, stuck } = step;
    const flight = this.#flights.get(call) ?? this.#start(call, expected);
    if (flight === undefined) return turn.last ? this.#alone(call, expected) : undefined;
    if (stuck) flight.cannot(turn.access);
    flight.turn(turn.access);
    return turn.last ? this.#land(call, flight) : undefined;
  }

  /** Gives the agents back. */
  end(): void {
    for (const { hand } of this.#flights.values()) this.#crew.drop(hand);
    this.#flights.clear();
    this.#crew.leave();
  }

  #start(call: Call, expected: () => Expectations): Flight | undefined {
    const hand = this.#grounded.has(call) ? undefined : this.#crew.take();
    if (hand === undefined) {
      this.#grounded.add(call);
      return undefined;
    }
    const driver = this.#driver;
    const observation = observe(expected());
    const seen = (): void => driver.take(call, observation);
    const flight = new Flight(hand, driver.addresses, observation, seen);
    this.#flights.set(call, flight);
    flight.start(driver.shared(call, hand.context.core));
    return flight;
  }

  #land(call: Call, flight: Flight): Outcome {
    flight.finish();
    this.#flights.delete(call);
    const { hand, observation, doubt } = flight;
    const answer = this.#driver.answer(call, hand.agent.result, hand.context);
    if (flight.ended) this.#crew.release(hand);
    else this.#crew.drop(hand);
    return { observation, answer, doubt };
  }

  #alone(call: Call, expected: () => Expectations): Outcome {
    const outcome = this.#driver.make(call, expected());
    return { ...outcome, doubt: "more calls overlap with it than there are agents" };
  }
}

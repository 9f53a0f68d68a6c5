/**
 * Agents for calls that overlap: each an instance of the core of its own, with a thread slot of its own, on the memory of
 * the engine. They stop before every access to a table page and nowhere else.
 */
import { Context } from "../_context.ts";
import { agentModule } from "../agents/build.ts";
import { Coroutine } from "../agents/coroutine.ts";
import type { Engine } from "../engine.ts";
import { check } from "../errors.ts";
import { ACCESS, ATOMIC } from "../instrument/step.ts";

/** One agent, and its own view of the engine: what its calls answer is there. */
export interface Hand {
  readonly agent: Coroutine;
  readonly context: Context;
  /** Its thread slot. */
  readonly thread: number;
}

/** As many agents as have room for their frames. */
const MOST = 7;

export class Crew {
  readonly #engine: Engine;
  readonly #idle: Hand[] = [];
  readonly #all: Hand[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** An agent that is in no call; undefined if so many calls overlap that there is none. */
  take(): Hand | undefined {
    return this.#idle.pop() ?? (this.#all.length < MOST ? this.#join() : undefined);
  }

  /** Hands an agent back whose call has ended. */
  release(hand: Hand): void {
    this.#idle.push(hand);
  }

  /** Parts from an agent in the middle of a call: what it held is anybody's again. */
  drop({ agent, thread }: Hand): void {
    agent.abandon();
    this.#engine.context.core.thread_reclaim(thread);
  }

  /** Gives back the thread slots of those that are in no call. */
  leave(): void {
    for (const { context } of this.#idle) context.core.engine_detach();
  }

  #join(): Hand {
    const { memory, base, id } = this.#engine.handle;
    const { poolPointer, core } = this.#engine.context;
    const end = poolPointer + core.pool_capacity() * 4096;
    const module = agentModule();
    const agent = new Coroutine({
      ...{ module, memory, number: this.#all.length },
      stopsAt: (address, _, kind) => address >= poolPointer && address < end && isEntryAccess(kind),
    });
    const thread = check(agent.core.engine_attach(base), "engine_attach", { base });
    // While one of them waits no other goes on: there is nothing to be patient for.
    for (const each of [core, agent.core]) each.thread_configure(1, 0, 1);
    const hand = { agent, context: new Context(agent.core, memory, module, id), thread };
    this.#all.push(hand);
    return hand;
  }
}

/** Whether it is an access to one entry: whole pages are cleared and filled before anybody can see them. */
function isEntryAccess(kind: number): boolean {
  switch (kind & ~ATOMIC) {
    case ACCESS.LOAD:
    case ACCESS.STORE:
    case ACCESS.READ_MODIFY_WRITE:
    case ACCESS.COMPARE_EXCHANGE:
      return true;
    default:
      return false;
  }
}

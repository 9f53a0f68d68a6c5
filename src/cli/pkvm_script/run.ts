/** Runs a script, statement by statement, and notes what each did. */
import type { Engine } from "../../engine.ts";
import { changesBetween } from "./changes.ts";
import type { OwnershipMap } from "../ownership/map.ts";
import { claimCheck } from "./claims.ts";
import type { Call } from "./calls.ts";
import { type Concern, concernOf, guestChange } from "./concern.ts";
import type { CallRecord, Check, ScriptResult, Step } from "./document.ts";
import { evaluate } from "./expression.ts";
import { makeGuest } from "./guest.ts";
import { ScriptMachine } from "./machine.ts";
import { HYPERCALL } from "../../pkvm/_abi.ts";
import { resultName } from "./results.ts";
import type { CallStatement, Claim, Expected, Expression, Script, Statement } from "./syntax.ts";
import { callWords } from "./call_words.ts";

/** What one statement did, before it is put beside what memory looked like. */
interface Done {
  readonly calls: readonly CallRecord[];
  readonly checks: readonly Check[];
}

const NOTHING: Done = { calls: [], checks: [] };

/** Runs a script on a machine of its own. */
export function runScript(engine: Engine, script: Script): ScriptResult {
  const runner = new Runner(ScriptMachine.create(engine, script));
  const steps = script.statements.map((statement) => runner.step(statement));
  const checks = steps.flatMap((step) => step.checks);
  const held = checks.filter(({ ok }) => ok).length;
  return {
    script: script.file,
    ok: held === checks.length,
    calls: steps.reduce((sum, { calls }) => sum + calls.length, 0),
    held,
    differing: checks.length - held,
    steps,
    ownership: runner.map,
  };
}

class Runner {
  readonly #machine: ScriptMachine;
  readonly #values = new Map<string, bigint>();
  /** Memory as the last statement left it. */
  map: OwnershipMap;

  constructor(machine: ScriptMachine) {
    this.#machine = machine;
    this.map = machine.observe();
  }

  step(statement: Statement): Step {
    const { line, kind } = statement;
    const about = {
      line: line.number,
      text: line.statement,
      kind: kind === "let" ? "value" : kind,
    } as const;
    const concern = this.#concern(statement);
    const before = this.map;
    const guestsBefore = concern.guests.map(({ handle, gfn }) => this.#machine.guest(handle, gfn));
    const { calls, checks } = this.#run(statement);
    if (calls.length > 0) this.map = this.#machine.observe();
    const pages = calls.length === 0 ? [] : changesBetween(before, this.map, concern.pages);
    const guests = concern.guests.flatMap((place, i) =>
      guestChange(place, guestsBefore[i], this.#machine.guest(place.handle, place.gfn)),
    );
    const ownership = kind === "show" ? { ownership: this.map } : {};
    return { ...about, calls, checks, pages, guests, ...ownership };
  }

  #concern(statement: Statement): Concern {
    if (statement.kind !== "call") return { pages: [], guests: [] };
    const words = statement.values.map((value) => this.#value(value));
    return concernOf(this.#machine, this.map, statement.call, words);
  }

  #run(statement: Statement): Done {
    switch (statement.kind) {
      case "note":
      case "show":
        return NOTHING;
      case "let":
        this.#values.set(statement.name, this.#value(statement.value));
        return NOTHING;
      case "call":
        return this.#call(statement);
      case "guest":
        return this.#guest(statement);
      case "load":
        return this.#load(statement.handle, statement.index);
      case "expect":
        return { calls: [], checks: statement.claims.map((claim) => this.#check(claim)) };
    }
  }

  #check(claim: Claim): Check {
    return claimCheck(this.#machine, this.map, claim, (value) => this.#value(value));
  }

  #guest(statement: Extract<Statement, { kind: "guest" }>): Done {
    const { handle, records, checks } = makeGuest(this.#machine, statement);
    this.#values.set(statement.name, BigInt(handle));
    return { calls: records, checks };
  }

  #call({ call, values, memcache, name, expected }: CallStatement): Done {
    const words = values.map((value) => this.#value(value));
    const given = memcache?.map((page) => this.#value(page));
    const record = this.#make(call, words, given);
    if (name !== undefined) this.#values.set(name, BigInt(record.result));
    return { calls: [record], checks: this.#resultCheck(expected, record) };
  }

  #make(call: Call, words: readonly bigint[], given: bigint[] | undefined): CallRecord {
    const list = call.memcache ? (given ?? this.#machine.memcache()) : undefined;
    const result = this.#machine.call(call.number, words, list);
    if (given === undefined && list !== undefined) this.#machine.giveBack(list.length);
    return { call: callWords(call, words), result, resultName: resultName(result) };
  }

  #load(handle: Expression, index: Expression | undefined): Done {
    const records: CallRecord[] = [];
    const make = (number: number, call: string, words: bigint[]): void => {
      const result = this.#machine.call(number, words);
      records.push({ call, result, resultName: resultName(result) });
    };
    const words = [this.#value(handle), index === undefined ? 0n : this.#value(index)];
    if (this.#machine.loaded !== undefined) make(HYPERCALL.VCPU_PUT, "vcpu_put", []);
    make(HYPERCALL.VCPU_LOAD, `vcpu_load 0x${words[0]?.toString(16)} ${words[1]}`, words);
    const found = records.at(-1) as CallRecord;
    return { calls: records, checks: [check("0", found.resultName)] };
  }

  #resultCheck(expected: Expected | undefined, { result, resultName: found }: CallRecord): Check[] {
    if (expected === undefined) return [];
    const { value } = expected;
    const wanted = typeof value === "number" ? BigInt(value) : this.#value(value);
    const ok = BigInt.asUintN(64, wanted) === BigInt.asUintN(64, BigInt(result));
    return [{ expected: expected.text, found, ok }];
  }

  #value(expression: Expression): bigint {
    return evaluate(expression, this.#values, this.#machine.pageShift);
  }
}

function check(expected: string, found: string): Check {
  return { expected, found, ok: expected === found };
}

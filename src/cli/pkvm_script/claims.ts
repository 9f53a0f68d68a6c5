/** Whether what `expect` says is so. */
import { type OwnershipMap, type OwnershipRun, runAt } from "../ownership/map.ts";
import type { Check } from "./document.ts";
import type { ScriptMachine } from "./machine.ts";
import type { Claim, Expression, Owner } from "./syntax.ts";

type Evaluate = (expression: Expression) => bigint;

/** What a page that is no memory is found to be. */
const NO_MEMORY = "no memory";

/** A claim, and what was found. */
export function claimCheck(
  machine: ScriptMachine,
  map: OwnershipMap,
  claim: Claim,
  evaluate: Evaluate,
): Check {
  if (claim.about === "guest") {
    const [handle, gfn] = [Number(evaluate(claim.handle)), Number(evaluate(claim.gfn))];
    const what = `guest ${claim.handle.text} ${claim.gfn.text}`;
    return result(what, claim.state, machine.guest(handle, gfn)?.state ?? "no such guest");
  }
  const what = `${claim.about} ${claim.page.text}`;
  const run = runAt(map, Number(evaluate(claim.page)) * machine.pageSize);
  if (run === undefined) return result(what, wanted(claim, evaluate), NO_MEMORY);
  return result(what, wanted(claim, evaluate), found(claim.about, run));
}

function result(what: string, expected: string, there: string): Check {
  return { expected: `${what} ${expected}`, found: there, ok: expected === there };
}

function wanted(claim: Exclude<Claim, { about: "guest" }>, evaluate: Evaluate): string {
  switch (claim.about) {
    case "host":
    case "hyp":
      return claim.state;
    case "owner":
      return ownerName(claim.owner, evaluate);
    default:
      return String(evaluate(claim.value));
  }
}

function ownerName(owner: Owner, evaluate: Evaluate): string {
  return typeof owner === "string" ? owner : `0x${evaluate(owner).toString(16)}`;
}

function found(about: Exclude<Claim["about"], "guest">, run: OwnershipRun): string {
  if (about !== "owner") return String(run[about]);
  if (run.owner !== "guest") return run.owner;
  const owner = run.guests.find(({ state }) => state !== "SHARED_BORROWED");
  return `0x${owner?.handle.toString(16)}`;
}

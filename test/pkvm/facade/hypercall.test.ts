/** The hypercall boundary as the facade has it: names, numbers, any words, lists of pages, plain results. */
import { describe, expect, it } from "vitest";
import { HYPERCALLS, NOT_SUPPORTED, type Word } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import {
  EINVAL,
  ENOENT,
  EPERM,
  FIRMWARE,
  PAGE,
  RWX,
  beds,
  makeGuest,
  refill,
  snapshot,
  state,
  states,
} from "../support.ts";

const U64 = 2n ** 64n;
const HOSTILE: readonly Word[] = [-1, -(2 ** 63), 2 ** 63, 2 ** 53, U64 - 1n, -1n, 2n ** 52n, 0];

describe.each(MODES)("hypercalls (%s)", (mode) => {
  const bed = beds({}, mode);

  it("answers with 0, a value, or an errno, and throws for none of them", () => {
    const { call, page } = bed();
    const pfn = page();
    expect([call("shareHyp", pfn), call("shareHyp", pfn)]).toEqual([0, EPERM]);
    expect([call("unshareHyp", pfn), call("unshareHyp", pfn)]).toEqual([0, EPERM]);
    expect(call("reserveVm")).toBe(0x1000);
    expect([call("unreserveVm", 0x1000), call("unreserveVm", 0x1000)]).toEqual([0, EINVAL]);
    expect(call("initVcpu", 0x1000, page())).toBe(ENOENT);
  });

  it.each([0, 42, 63, 999, -1, 2 ** 31 - 1])("P-3.1: %d is no hypercall", (number) => {
    const { pkvm, call } = bed();
    const before = snapshot(pkvm);
    expect(call(number, 1, 2, 3)).toBe(NOT_SUPPORTED);
    expect(snapshot(pkvm)).toEqual(before);
  });

  it("P-2.10: takes the other name of relaxPermsGuest for the same call", () => {
    const { pkvm } = bed();
    const words = [0x100, RWX] as const;
    expect(pkvm.hypercall("relaxGuestPerms", ...words)).toBe(
      pkvm.hypercall("relaxPermsGuest", ...words),
    );
  });

  it("takes arguments as words of 64 bits, whatever type they are of", () => {
    const { call, page, pkvm } = bed();
    const pfn = page();
    expect(call("shareHyp", BigInt(pfn))).toBe(0);
    expect(state(pkvm, pfn).host).toBe("SHARED_OWNED");
    expect(call("unshareHyp", BigInt(pfn) + U64 / 2n)).toBe(EINVAL);
    expect(call("unshareHyp", BigInt(pfn) - 2n ** 63n)).toBe(EINVAL); // two's complement of the same word
    expect(call("unshareHyp", pfn)).toBe(0);
  });

  it("takes hostile words everywhere, and nothing changes", () => {
    const { pkvm, call } = bed();
    const before = snapshot(pkvm);
    for (const { name, parameters } of HYPERCALLS) {
      if (parameters.length === 0 || name === "protFinalize") continue;
      for (const word of HOSTILE) {
        const words = parameters.map(() => word);
        const result = call(name, ...words);
        if (name === "tlbFlushVmid" || name === "hostAbort" || name === "setOwner") continue; // may do something of no account
        expect(result, `${name}(${String(word)})`).toBeLessThan(0);
      }
    }
    expect(snapshot(pkvm)).toEqual(before);
  });

  it.each<[string, Word]>([
    ["a fraction", 0.5],
    ["no number", NaN],
    ["more than 64 bits", U64],
    ["less than 64 bits", -(2n ** 63n) - 1n],
    ["text", "1" as unknown as Word],
  ])("refuses %s at the door", (_, word) => {
    const { pkvm, call, page } = bed();
    const pfn = page();
    const before = snapshot(pkvm);
    expect(errorOf(() => call("shareFfa", pfn, word)).code).toBe("BAD_OPTION");
    expect(errorOf(() => call("shareGuest", pfn, 1, 1, 7, { memcache: [word] })).code).toBe(
      "BAD_OPTION",
    );
    expect(snapshot(pkvm)).toEqual(before);
  });

  it("refuses names that no call has, nine arguments, and lists that are none", () => {
    const { pkvm } = bed();
    const codes = [
      () => pkvm.hypercall("shareHost" as "shareHyp", 1),
      () => pkvm.hypercall(1.5),
      () => pkvm.hypercall("shareHyp", 1, 2, 3, 4, 5, 6, 7, 8, 9),
      () => pkvm.hypercall("shareGuest", 1, 2, 1, 7, { memcache: 5 as unknown as Word[] }),
      () => pkvm.hypercall("shareGuest", { memcache: [] }, 2),
    ].map((action) => errorOf(action).code);
    expect(codes).toEqual(codes.map(() => "BAD_OPTION"));
  });

  it("takes pages for the memcache from the end of the list, and leaves the rest there", () => {
    const b = bed();
    makeGuest(b);
    const pfn = b.page();
    const list = refill(b, 3);
    const pages = [...list.memcache] as number[];
    expect(b.call("shareGuest", pfn, 0x100, 1, RWX, list)).toBe(0);
    expect(list.memcache).toEqual([]);
    expect(pages.map((page) => states(b.pkvm, page))).toEqual(["-O", "-O", "-O"]);
    expect(state(b.pkvm, pfn)).toMatchObject({ host: "SHARED_OWNED", guestMappings: 1 });
  });

  it("P-3.2: a page that the host does not have ends the refill; those before it stay admitted", () => {
    const b = bed();
    makeGuest(b);
    const pfn = b.page();
    const [low, good] = [b.page(), b.page()];
    const list = { memcache: [low, FIRMWARE / PAGE, good] };
    expect(b.call("shareGuest", pfn, 0x100, 1, RWX, list)).toBe(-12);
    expect(list.memcache).toEqual([low, FIRMWARE / PAGE]);
    expect(states(b.pkvm, good)).toBe("-O");
    expect(states(b.pkvm, pfn)).toBe("O-");
  });

  it("says what became of an access of the host", () => {
    const { pkvm, call, page } = bed();
    const pfn = page();
    expect(pkvm.hostAbort(pfn * PAGE + 8)).toBe("mapped");
    expect(pkvm.hostAbort(pfn * PAGE + 8)).toBe("again");
    expect(pkvm.hostStage2.lookup(pfn * PAGE + 8)).toBe(pfn * PAGE + 8);
    expect(call("donateHyp", pfn, 1)).toBe(0);
    expect(pkvm.hostAbort(pfn * PAGE)).toBe("crash");
    expect(pkvm.hostStage2.lookup(pfn * PAGE)).toBeUndefined();
    expect(errorOf(() => pkvm.hostAbort(2 ** 40)).code).toBe("EINVAL");
    expect(errorOf(() => pkvm.hostAbort(-1)).code).toBe("BAD_ADDRESS");
    expect(pkvm.hostAbort(0x900_0000)).toBe("mapped"); // a device
    expect(call("hypDonateHost", pfn, 1)).toBe(0);
  });
});

describe("hypercalls of the newest generation", () => {
  const bed = beds({ generation: "newest" });

  it("P-6.5: an abort of the host on what is not its own is injected", () => {
    const { pkvm, call, page } = bed();
    const pfn = page();
    expect(call("donateHyp", pfn, 1)).toBe(0);
    expect(pkvm.hostAbort(pfn * PAGE)).toBe("inject");
  });
});

/** What a protected guest had is cleaned to memory before the host has the page again: no cache keeps what was wiped. */
import { describe, expect, it } from "vitest";
import { PAGE, RAM2, RAM2_BYTES, beds } from "../support.ts";

/** VMID of the host's stage 2. */
const HOST = 0;

describe.each(["threads", "single"] as const)("P-5.5, %s", (mode) => {
  const bed = beds({ generation: "newest", events: ["maintenance"] }, mode, {
    guestRam: { pa: RAM2, size: RAM2_BYTES },
  });

  /** Pages that the host's stage 2 was told to clean, since the last look. */
  const cleaned = (): number[] =>
    [...bed().engine.events.drain()].flatMap((event) =>
      event.kind === "dcacheClean" && event.vmid === HOST ? [event.pa] : [],
    );

  it("is cleaned when it is taken by force, once", () => {
    const { pkvm, keep, call } = bed();
    const s2 = keep(pkvm.stage2({ protectedGuest: true, vcpus: 1 }));
    s2.map({ ipa: 0, size: PAGE, pa: RAM2, prot: 7 });
    cleaned();
    expect(call("forceReclaim", RAM2 / PAGE)).toBe(0);
    expect(cleaned()).toContain(RAM2);
  });

  it("is cleaned when the guest ends", () => {
    const { pkvm } = bed();
    const s2 = pkvm.stage2({ protectedGuest: true, vcpus: 1 });
    s2.map({ ipa: 0x4000, size: PAGE, pa: RAM2 + PAGE, prot: 7 });
    cleaned();
    s2.dispose();
    expect(cleaned()).toContain(RAM2 + PAGE);
  });
});

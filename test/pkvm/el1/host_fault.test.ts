/** Row P-6.10: an abort of the host by an address that has to be looked up first. */
import { describe, expect, it } from "vitest";
import { Access, type Engine, Fault } from "../../../src/index.ts";
import { MODES } from "../../support.ts";
import { configuration } from "../../selftests/harness/configurations.ts";
import { type GuestWords, Stage1 } from "../../selftests/harness/stage1.ts";
import { DEVICES, PAGE, RAM2, RAM2_BYTES, beds, snapshot } from "../support.ts";

const VA = 0x12_3456_7000;
const TABLES = { ipa: RAM2, end: RAM2 + 64 * PAGE };

/** Physical memory, as the host's kernel writes its own tables. */
function wordsOf({ memoryMap }: Engine): GuestWords {
  const word = (pa: number): DataView => {
    const { buffer, byteOffset } = memoryMap.bytes(pa, 8);
    return new DataView(buffer, byteOffset, 8);
  };
  return {
    get: (pa) => word(pa).getBigUint64(0, true),
    set: (pa, value) => word(pa).setBigUint64(0, value, true),
  };
}

describe.each(MODES)("a fault of the host (%s)", (mode) => {
  const bed = beds({}, mode, { guestRam: { pa: RAM2, size: RAM2_BYTES } });

  it("P-6.10: whose address cannot be found any more maps nothing: the host goes on, and faults anew", () => {
    const { engine, pkvm, keep } = bed();
    const words = wordsOf(engine);
    const stage1 = new Stage1(words, configuration("4K", 40), TABLES);
    stage1.map(VA, DEVICES);
    const host = keep(engine.vcpu(pkvm.hostStage2, { hpfarOnPermission: "poison", tlb: false }));
    host.setRegisters(stage1.registers());
    for (const pa of [RAM2, DEVICES]) expect(pkvm.hostAbort(pa)).toBe("mapped");

    const fetch = host.translate(VA, Access.Fetch); // devices are not executable
    expect(fetch).toBeInstanceOf(Fault);
    expect(fetch).toMatchObject({ stage: 2, ipa: undefined });
    expect(host.at("S1E1R", VA)).toMatchObject({ pa: DEVICES }); // so it is found, as a rule

    words.set(stage1.pteOf(VA), 0n); // another CPU of the host was faster
    const before = snapshot(pkvm);
    const leaves = [...pkvm.hostStage2.leaves()];
    expect(host.at("S1E1R", VA)).toMatchObject({ ok: false, stage: 1 });
    expect(snapshot(pkvm)).toEqual(before);
    expect([...pkvm.hostStage2.leaves()]).toEqual(leaves);
    expect(host.translate(VA, Access.Fetch)).toMatchObject({ stage: 1 });
  });
});

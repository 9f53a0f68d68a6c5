/**
 * vCPUs that write and read one page: with KVM's prejudgement an access takes a bounded number of faults, without it they
 * take the mapping from each other (L26, L27, L39).
 */
import { describe, expect, it } from "vitest";
// @ts-expect-error the benchmark is JavaScript
import { play as playAny } from "../../bench/progress/scenario.mjs";

interface Outcome {
  accesses: number;
  faults: number;
  unmaps: number;
  histogram: number[];
  beyond: number;
}
type Play = (prejudgement: "on" | "off", scenario: Record<string, number>) => Promise<Outcome>;
const play = playAny as Play;

const CASES = [1, 2, 3].flatMap((seed) =>
  [1, 2, 4].map((pairs) => ({ writers: pairs, readers: pairs, seed })),
);

describe.each(CASES)("$writers writers, $readers readers, seed $seed", (scene) => {
  const scenario = { ...scene, steps: 60_000, unmapEvery: 500 };

  it("takes at most two faults for what is not there, and two for each unmap meanwhile", async () => {
    const { accesses, unmaps, beyond, histogram } = await play("on", scenario);
    expect(unmaps).toBeGreaterThan(50);
    expect(histogram[2]).toBeGreaterThan(0); // the race took place
    expect(accesses).toBeGreaterThan(10_000);
    expect(beyond).toBe(0);
  });

  it("takes more where handlers replace what differs", async () => {
    const [on, off] = [await play("on", scenario), await play("off", scenario)];
    expect(off.faults / off.unmaps).toBeGreaterThan(1.2 * (on.faults / on.unmaps));
    expect(off.beyond).toBeGreaterThan(0);
  });

  it("plays the same again", async () => {
    expect(await play("on", scenario)).toEqual(await play("on", scenario));
  });
});

/**
 * Port of demand_paging_test (A5), in one thread: no page is there; a hook brings each when a guest needs it. The hook is asked
 * once for each paging unit, however many guests need it; all get on, and read what was brought.
 */
import { describe, expect, it } from "vitest";
import { machineOf, machines } from "../harness/slot/machines.ts";
import { type Scene, type SceneOptions, SIZES, onScene } from "../harness/slot/scene.ts";
import { shapeOf } from "../harness/slot/shape.ts";
import { BYTE, Pager, guest } from "./pager.ts";

const EACH = 24;

function sceneOf(pages: number, options: Partial<SceneOptions> = {}): SceneOptions {
  const { page } = options.machine ?? machineOf("4K");
  const bytes = (pages + 2) * page;
  return { kind: "anonymous", size: pages * page, bytes, judged: true, ...options };
}

const range = ({ hva, size }: Scene) => ({ hva, size });
const content = (bytes: number) => new Uint8Array(bytes).fill(BYTE);
const hvas = ({ hva, size }: Scene, unit: number) =>
  Array.from({ length: size / unit }, (_, n) => hva + n * unit);
/** The hook was asked for exactly these, once for each. */
function expectAsked({ asked }: Pager, expected: readonly number[]): void {
  expect([...asked.keys()].sort((a, b) => a - b)).toEqual(expected);
  expect(new Set(asked.values())).toEqual(new Set([1]));
}

const MACHINES = [
  ...machines({ ipaBits: [40], tlbs: ["TLB of 8"] }),
  ...machines({ ipaBits: [36, 52], ha: [true], tlbs: ["large TLB"] }),
];

describe.each(MACHINES)("%s", (_name, machine) => {
  it.each([1, 2, 4])("DP1: %i vCPUs, each with pages of its own", (vcpus) =>
    onScene(sceneOf(vcpus * EACH, { machine, vcpus }), async (scene) => {
      const pager = new Pager(vcpus);
      const bytes = content(scene.page);
      scene.ram.onMissing(
        range(scene),
        pager.hook(() => bytes),
      );
      const guests = scene.vcpus.map((one, n) => guest(scene, one, [n * EACH, (n + 1) * EACH]));
      await pager.serve(guests);
      expectAsked(pager, hvas(scene, scene.page));
      expect([...pager.askers.values()], "pages that each vCPU missed").toEqual(
        Array(vcpus).fill(EACH),
      );
      expect(scene.ram.counters).toMatchObject({ missing: vcpus * EACH, filled: vcpus * EACH });
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 rw-": vcpus * EACH });
    }),
  );

  it.each([2, 4])("DP2: %i vCPUs that need the same pages", (vcpus) =>
    onScene(sceneOf(EACH, { machine, vcpus }), async (scene) => {
      const pager = new Pager(vcpus);
      const bytes = content(scene.page);
      scene.ram.onMissing(
        range(scene),
        pager.hook(() => bytes),
      );
      await pager.serve(scene.vcpus.map((one) => guest(scene, one, [0, EACH])));
      expectAsked(pager, hvas(scene, scene.page));
      const { missing, filled, waited } = scene.ram.counters;
      expect([missing, filled]).toEqual([EACH, EACH]);
      expect(waited, "guests that found another waiting").toBeGreaterThan(0);
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L3 rw-": EACH });
    }),
  );

  it("DP2: the page is brought by somebody else meanwhile: it exists, and stays", () =>
    onScene(sceneOf(EACH, { machine, vcpus: 2 }), async (scene) => {
      const pager = new Pager(3);
      const bytes = content(scene.page);
      const seen: string[] = [];
      scene.ram.onMissing(
        range(scene),
        pager.hook(({ hva }) => {
          scene.ram.fill(hva, bytes);
          seen.push(scene.ram.fill(hva, "zero"));
          return undefined;
        }),
      );
      await pager.serve(scene.vcpus.map((one) => guest(scene, one, [0, EACH])));
      expect(seen).toEqual(Array(EACH).fill("exists"));
      expect(scene.ram.counters).toMatchObject({ filled: EACH, exists: EACH });
    }));

  it("DP3: the page is in the page cache already: the hook says to go on", () =>
    onScene(sceneOf(EACH, { machine, vcpus: 2, kind: "file" }), async (scene) => {
      const pager = new Pager(4);
      for (const hva of hvas(scene, scene.page)) scene.ram.preload(hva, content(scene.page));
      const minor = { ...range(scene), mode: "minor" } as const;
      scene.ram.onMissing(
        minor,
        pager.hook(() => "continue"),
      );
      await pager.serve(scene.vcpus.map((one) => guest(scene, one, [0, EACH])));
      expectAsked(pager, hvas(scene, scene.page));
      expect(scene.ram.counters).toMatchObject({ minor: EACH, missing: 0 });
    }));

  it("DP5: hooks take their time, and the host invalidates meanwhile", () =>
    onScene(sceneOf(2 * EACH, { machine, vcpus: 4 }), async (scene) => {
      const pager = new Pager(5);
      const bytes = content(scene.page);
      scene.ram.onMissing(
        range(scene),
        pager.hook(() => bytes),
      );
      const shares = [0, EACH, 0, EACH].map((first) => [first, first + EACH] as const);
      await pager.serve(
        scene.vcpus.map((one, n) => guest(scene, one, shares[n]!)),
        (step) => {
          const at = scene.hva + ((step * 7) % (2 * EACH)) * scene.page;
          if (step % 3 === 0) scene.vm.invalidate({ hva: at, size: scene.page }, () => {});
        },
      );
      expectAsked(pager, hvas(scene, scene.page)); // an invalidation takes no page of the host's
      const retries = scene.vcpus.reduce((n, { statistics }) => n + statistics.retries, 0);
      expect(retries, "faults that an invalidation overtook").toBeGreaterThan(0);
    }));

  it("DP5: pages are dropped meanwhile, and brought again", () =>
    onScene(sceneOf(EACH, { machine, vcpus: 2 }), async (scene) => {
      const pager = new Pager(6);
      const bytes = content(scene.page);
      scene.ram.onMissing(
        range(scene),
        pager.hook(() => bytes),
      );
      await pager.serve(
        scene.vcpus.map((one) => guest(scene, one, [0, EACH], { times: 4 })),
        (step) => {
          if (step % 5 !== 0) return;
          scene.ram.punch({ hva: scene.hva + ((step * 11) % EACH) * scene.page, size: scene.page });
        },
      );
      const asked = [...pager.asked.values()].reduce((sum, n) => sum + n, 0);
      expect(asked).toBeGreaterThan(EACH);
      expect(scene.ram.counters.missing).toBe(asked);
    }));
});

describe("DP4: huge pages are paging units", () => {
  it.each([
    ["4K", 2 ** 21, 8],
    ["16K", 2 ** 25, 2],
  ] as const)("%s pages, hugetlb of %i bytes", (granule, pageSize, units) => {
    const machine = machineOf(granule);
    const huge = {
      kind: "hugetlb",
      pageSize,
      size: units * pageSize,
      bytes: units * pageSize,
    } as const;
    return onScene({ machine, vcpus: 2, ...huge }, async (scene) => {
      const pager = new Pager(8);
      const bytes = content(pageSize);
      scene.ram.onMissing(
        range(scene),
        pager.hook(() => bytes),
      );
      const step = SIZES[granule].pmd / scene.page / 8;
      await pager.serve(scene.vcpus.map((one) => guest(scene, one, [0, scene.pages], { step })));
      expectAsked(pager, hvas(scene, pageSize));
      expect(shapeOf(scene.vm.stage2)).toEqual({ "L2 rw-": units });
    });
  });
});

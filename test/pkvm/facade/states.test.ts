/** What a machine shows: states of pages, runs of them with their owners, VMs and vCPUs, its two tables. */
import { describe, expect, it } from "vitest";
import { Access, Fault } from "../../../src/index.ts";
import { MODES, errorOf } from "../../support.ts";
import {
  DEVICES,
  FIRMWARE,
  FIRMWARE_BYTES,
  PAGE,
  RAM,
  RAM2,
  RAM2_BYTES,
  RAM_BYTES,
  RWX,
  beds,
  makeGuest,
  refill,
  state,
  states,
} from "../support.ts";

const GFN = 0x4_0000;
const FREE = { guestMappings: 0, references: 0 };

describe.each(MODES)("what a pKVM machine shows (%s)", (mode) => {
  const bed = beds({ generation: "newest" }, mode);

  it("tells who owns a page, and who has access beside it", () => {
    const { pkvm, call, pages } = bed();
    const host = pages(4);
    const [hyp, shared, secure] = [host + 1, host + 2, host + 3];
    call("donateHyp", hyp, 1);
    call("shareHyp", shared);
    call("pin", shared, 1);
    call("shareFfa", secure, 1);
    expect(state(pkvm, host)).toEqual({
      ...FREE,
      host: "OWNED",
      hyp: "NOPAGE",
      owner: "host",
      sharedWith: undefined,
    });
    expect(state(pkvm, hyp)).toMatchObject({ host: "NOPAGE", hyp: "OWNED", owner: "hyp" });
    expect(state(pkvm, shared)).toEqual({
      host: "SHARED_OWNED",
      hyp: "SHARED_BORROWED",
      guestMappings: 0,
      references: 1,
      owner: "host",
      sharedWith: "hyp",
    });
    expect(state(pkvm, secure)).toMatchObject({ host: "SHARED_OWNED", sharedWith: "ffa" });
  });

  it("says of what is no memory that it is nobody's", () => {
    const { pkvm } = bed();
    const nobodys = { host: "NOPAGE", hyp: "NOPAGE", owner: "nobody" };
    expect(pkvm.pageState(FIRMWARE)).toMatchObject(nobodys);
    expect(pkvm.pageState(DEVICES)).toMatchObject(nobodys);
    expect(pkvm.pageState(2 ** 40 - 1)).toMatchObject(nobodys);
    expect(errorOf(() => pkvm.pageState(2 ** 40)).code).toBe("EINVAL");
    expect(errorOf(() => pkvm.pageState(-1)).code).toBe("BAD_ADDRESS");
  });

  it("lists memory as runs", () => {
    const { pkvm, call } = bed();
    expect([...pkvm.ranges()].map(({ pa, size, owner }) => [pa, size, owner])).toEqual([
      [RAM, RAM_BYTES, "host"],
      [RAM2, RAM2_BYTES, "host"],
      [FIRMWARE, FIRMWARE_BYTES, "nobody"],
    ]);
    expect(call("donateHyp", RAM / PAGE + 2, 3)).toBe(0);
    const some = pkvm.ranges({ pa: RAM + PAGE, size: 8 * PAGE });
    expect([...some].map(({ pa, size, owner }) => [(pa - RAM) / PAGE, size / PAGE, owner])).toEqual(
      [
        [1, 1, "host"],
        [2, 3, "hyp"],
        [5, 4, "host"],
      ],
    );
    expect([...pkvm.ranges({ pa: DEVICES, size: PAGE })]).toEqual([]);
    expect(errorOf(() => pkvm.ranges({ pa: 1, size: PAGE })).code).toBe("BAD_OPTION");
  });

  it("names the guest that has a page, and where, also of what it lends to the host", () => {
    const b = bed();
    const { pkvm, call } = b;
    const { handle } = makeGuest(b, { isProtected: true });
    const pfn = b.pages(3);
    for (const i of [0, 1, 2]) expect(call("donateGuest", pfn + i, GFN + i, refill(b, 3))).toBe(0);
    const guests = (): unknown[] =>
      [...pkvm.ranges({ pa: pfn * PAGE, size: 3 * PAGE })].map((range) => [
        range.size / PAGE,
        range.owner,
        range.sharedWith,
        range.handle,
        range.gfn,
      ]);
    expect(guests()).toEqual([[3, "guest", undefined, handle, GFN]]);
    expect(call("guestShareHost", GFN + 1)).toBe(0);
    expect(states(pkvm, pfn + 1)).toBe("B-");
    expect(guests()).toEqual([
      [1, "guest", undefined, handle, GFN],
      [1, "guest", "host", handle, GFN + 1],
      [1, "guest", undefined, handle, GFN + 2],
    ]);
  });

  it("shows VMs and vCPUs as the hypervisor has them", () => {
    const b = bed();
    const { pkvm, call } = b;
    expect(pkvm.vms()).toEqual([]);
    const { handle, donated } = makeGuest(b, { vcpus: 2 });
    const pfn = b.page();
    expect(call("shareGuest", pfn, GFN, 1, RWX, refill(b, 3))).toBe(0);
    const vm = pkvm.vmState(handle);
    expect(vm).toMatchObject({
      handle,
      vcpus: 2,
      createdVcpus: 2,
      references: 1,
      protectedGuest: false,
      dying: false,
      admitted: donated.length + 3,
    });
    expect(vm?.stage2.lookup(GFN * PAGE + 5)).toBe(pfn * PAGE + 5);
    expect(pkvm.vms().map((each) => each.handle)).toEqual([handle]);
    expect(pkvm.loaded).toEqual({ handle, index: 0 });
    expect(pkvm.vcpuState(handle, 0)).toEqual({
      pages: vm?.inMemcaches,
      thread: b.engine.thread,
    });
    expect(pkvm.vcpuState(handle, 1)).toEqual({ pages: 0, thread: undefined });
    expect(pkvm.vcpuState(handle, 2)).toBeUndefined();
    expect(pkvm.vmState(0x1005)).toBeUndefined();
    expect(pkvm.vmState(5)).toBeUndefined();
    expect(errorOf(() => pkvm.vmState(0.5)).code).toBe("BAD_OPTION");
  });

  it("keeps no look at a guest that is gone", () => {
    const b = bed();
    const { handle } = makeGuest(b, { load: false });
    const view = b.pkvm.vmState(handle)?.stage2;
    expect([...(view?.leaves() ?? [0])]).toEqual([]);
    expect(b.call("teardownVm", handle)).toBe(0);
    expect(errorOf(() => view?.leaves().next()).code).toBe("DISPOSED");
    const again = makeGuest(b, { load: false });
    expect(again.handle).toBe(handle);
    expect([...(b.pkvm.vmState(handle)?.stage2.leaves() ?? [0])]).toEqual([]);
  });

  it("shows what the hypervisor maps, at its own addresses", () => {
    const { pkvm, call, page } = bed();
    const pfn = page();
    call("donateHyp", pfn, 1);
    const [leaf] = [...pkvm.hypStage1.leaves()];
    expect(leaf).toMatchObject({ va: pfn * PAGE, pa: pfn * PAGE, size: PAGE });
    call("hypDonateHost", pfn, 1);
    expect([...pkvm.hypStage1.leaves()]).toEqual([]);
    pkvm.hypStage1.dispose(); // does nothing: it goes with the machine
    expect(pkvm.hypStage1.startLevel).toBe(0);
  });

  it("lets a vCPU be the host", () => {
    const { engine, pkvm, call, page, keep } = bed();
    const host = keep(engine.vcpu(pkvm.hostStage2));
    const pfn = page();
    const fault = host.translate(pfn * PAGE, Access.Write);
    expect(fault).toBeInstanceOf(Fault);
    pkvm.hostAbort((fault as Fault).ipa ?? 0);
    expect(host.translate(pfn * PAGE, Access.Write)).toBe(pfn * PAGE);
    call("donateHyp", pfn, 1);
    expect(host.translate(pfn * PAGE, Access.Read)).toBeInstanceOf(Fault);
    expect(pkvm.hostStage2.vmid).toBeLessThan(2 ** 16);
  });
});

describe("the hypervisor's offset", () => {
  const bed = beds({ hypVaOffset: 0x4000_0000 });

  it("lies between its addresses and physical ones", () => {
    const { pkvm, call, page } = bed();
    const pfn = page();
    call("donateHyp", pfn, 1);
    expect([...pkvm.hypStage1.leaves()][0]).toMatchObject({
      va: pfn * PAGE - 0x4000_0000,
      pa: pfn * PAGE,
    });
  });
});

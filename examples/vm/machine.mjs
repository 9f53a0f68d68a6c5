// @ts-check
/** A virtual machine: host memory, memslots over it, a vCPU, devices. */
import { GuestMemory, MemslotFlag } from "stage2";
import { CLOCK, Guest, PAGE, RAM, ROM, UART } from "./guest.mjs";

/** Where the host has them. */
const HVA = { ram: 0x7f00_0000_0000, rom: 0x7e00_0000_0000 };

export class Machine {
  /** What the guest printed here. */
  printed = "";

  /** @param {import("stage2").Engine} engine @param {{ pa: number, size: number }} bank frames of its host */
  constructor(engine, bank) {
    this.host = GuestMemory.create(engine, bank);
    this.host.map({ hva: HVA.ram, size: RAM.size, kind: "thp" });
    this.host.map({ hva: HVA.rom, size: ROM.size, kind: "anonymous" });
    this.vm = engine.vm({ memory: this.host, bus: this.#clock(), vmEvents: ["map", "dirty"] });
    this.host.addVm(this.vm);
    this.vm.setMemslot({ ...RAM, hva: HVA.ram });
    this.vm.setMemslot({ ...ROM, hva: HVA.rom, flags: MemslotFlag.READONLY });
    this.vcpu = this.vm.createVcpu();
    this.guest = new Guest(this.vcpu, (exit) => this.#serve(exit));
  }

  /** Logs the pages that the guest writes to, from now on. @param {boolean} on */
  log(on) {
    this.vm.setMemslot({ ...RAM, hva: HVA.ram, flags: on ? MemslotFlag.LOG_DIRTY_PAGES : 0 });
  }

  /** Burns the ROM. @param {string} text 16 letters */
  burn(text) {
    const words = Uint32Array.from(text, (letter) => letter.charCodeAt(0));
    this.host.write(HVA.rom, new Uint8Array(words.buffer));
  }

  /** Pages of RAM to another machine, and all of ROM. @param {Machine} other @param {Iterable<number>} pages */
  copyTo(other, pages) {
    for (const page of pages) {
      const ipa = RAM.ipa + page * PAGE;
      other.vm.writeGuest(ipa, this.vm.readGuest(ipa, PAGE));
    }
    other.host.write(HVA.rom, this.vm.readGuest(ROM.ipa, ROM.size));
  }

  /** A clock that the hypervisor has itself: steps of the guest. @returns {import("stage2").Bus} */
  #clock() {
    return {
      read: (address) => (address === CLOCK ? BigInt(this.guest.steps) : undefined),
      write: () => false,
    };
  }

  /** @param {import("stage2").Exit} exit */
  #serve(exit) {
    if (exit.reason === "resume") return; // the clock has answered
    if (exit.reason !== "mmio" || exit.address !== UART || !exit.write) {
      throw new Error(`the guest needs what it does not have: ${JSON.stringify(exit.reason)}`);
    }
    this.printed += String.fromCharCode(Number(exit.data));
    exit.complete();
  }

  dispose() {
    this.vm.dispose();
    this.host.dispose();
  }
}

/** A guest in a thread of its own: attaches to the engine, the memory and the VM, runs one program, and reports. */
import { parentPort, workerData } from "node:worker_threads";
import { Engine, GuestMemory } from "../../../../src/index.ts";
import { Guest } from "../guest.ts";
import type { Report, Start } from "./messages.ts";
import { Runner } from "./programs.ts";

const start = workerData as Start;
const engine = await Engine.attach(start.engine);
const memory = GuestMemory.attach(engine, start.memory);
const vm = engine.attachVm(start.vm, { memory });
memory.addVm(vm);
const vcpu = vm.createVcpu({ id: 1, ...start.cpu });

const runner = new Runner(start.program, start.board);
const guest = new Guest(vcpu, { mmio: runner.mmio, mostAborts: Infinity });
const end = guest.run(() => runner.run(guest));
const { failures, aborts, mmio } = guest;

vcpu.dispose();
memory.removeVm(vm);
vm.dispose();
memory.dispose();
engine.dispose();
const report: Report = { end, failures, aborts: aborts.length, mmio, strange: runner.strange };
parentPort?.postMessage(report);

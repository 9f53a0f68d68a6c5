/** A thread that is attached to a guest memory and runs a program, together with the others. */
import { parentPort, workerData } from "node:worker_threads";
import { Engine } from "../../../../src/engine.ts";
import { GuestMemory } from "../../../../src/vm/memory/guest_memory.ts";
import { type Start, WORKERS } from "./messages.ts";
import { PROGRAMS } from "./programs.ts";

const { engine: handle, ram: memory, vm: machine, id, program, control } = workerData as Start;
const engine = await Engine.attach(handle);
const ram = GuestMemory.attach(engine, memory);
const vm = machine === undefined ? undefined : engine.attachVm(machine, { memory: ram });

Atomics.add(control, 0, 1);
Atomics.notify(control, 0);
for (let ready = 0; ready < WORKERS; ready = Atomics.load(control, 0)) {
  Atomics.wait(control, 0, ready, 100);
}
parentPort?.postMessage(await PROGRAMS[program](ram, id, vm));
ram.dispose();
vm?.dispose();
engine.dispose();

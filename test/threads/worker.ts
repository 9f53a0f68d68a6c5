/** A thread of an engine that does what it is told: calls of the API, or loops that run until the test stops them. */
import { parentPort, workerData } from "node:worker_threads";
import { Engine, Fault, Stage2Error } from "../../src/index.ts";
import { type Loops, loopsOf } from "./loops.ts";
import type { Answer, Call, Start } from "./messages.ts";

const start = workerData as Start;
const engine = await Engine.attach(start.engine, { patience: start.patience });
const s2 = engine.attachStage2(start.s2);
const vcpu = engine.vcpu(s2);
const loop: Loops = loopsOf(start.control, engine, s2, vcpu);
const objects = { engine, s2, raw: s2.raw, lock: s2.mmuLock, vcpu, loop };

function call({ on, method, args }: Call): Answer {
  try {
    const target = objects[on] as unknown as Record<string, unknown>;
    const found = target[method];
    const value: unknown = typeof found === "function" ? found.apply(target, args) : found;
    return { value: value instanceof Fault ? value.type : value };
  } catch (error) {
    if (!(error instanceof Stage2Error)) throw error;
    const { code, message, details } = error;
    return { error: { code, message, details: { ...details } } };
  }
}

parentPort?.on("message", (request: Call) => parentPort?.postMessage(call(request)));
parentPort?.postMessage({ value: engine.thread } satisfies Answer);

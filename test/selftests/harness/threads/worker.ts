/** A thread of the tests: one vCPU that runs the programs it is told to. */
import { parentPort, workerData } from "node:worker_threads";
import { ThreadGuest } from "./guest.ts";
import type { Answer, Start, Task } from "./messages.ts";
import { runProgram } from "./programs.ts";

const guest = await ThreadGuest.join(workerData as Start);

function answer(task: Exclude<Task, "end">): Answer {
  try {
    return { value: runProgram(guest, task.program, task.args) };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

parentPort?.on("message", (task: Task) => {
  if (task !== "end") return parentPort?.postMessage(answer(task));
  guest.leave();
  parentPort?.close();
});
parentPort?.postMessage({ value: guest.id } satisfies Answer);

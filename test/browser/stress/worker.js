// @ts-check
/** A thread in a browser. */
import { work } from "./program/worker.mjs";

addEventListener("message", async ({ data }) => {
  try {
    await work(data, (text) => postMessage({ text }));
    postMessage({});
  } catch (error) {
    postMessage({ error: error instanceof Error ? `${error.stack}` : String(error) });
  }
});

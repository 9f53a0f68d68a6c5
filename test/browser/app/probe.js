// @ts-check
import { Engine, Prot, Stage2Error } from "stage2";

const RANGE = { ipa: 0x4000_0000, size: 0x10_0000 };
const PA = 0x8_0000_0000;

/** Which mode the engine picks here (or refuses), and whether a worker sees what this thread maps. */
export async function probe() {
  const mode = new URLSearchParams(location.search).get("mode");
  const isolated = crossOriginIsolated;
  try {
    const engine = await Engine.create({ maxTablePages: 256, ...(mode && { mode }) });
    const s2 = engine.stage2();
    s2.map({ ...RANGE, pa: PA, prot: Prot.RWX });
    if (engine.mode === "single") return { isolated, mode: engine.mode };
    const found = await lookUpInWorker(engine.handle, s2.handle, RANGE.ipa + 0x1234);
    return { isolated, mode: engine.mode, seenByWorker: found === PA + 0x1234 };
  } catch (error) {
    if (error instanceof Stage2Error) return { isolated, code: error.code };
    throw error;
  }
}

/**
 * @param {unknown} engine
 * @param {unknown} s2
 * @param {number} ipa
 * @returns {Promise<number>}
 */
function lookUpInWorker(engine, s2, ipa) {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage({ engine, s2, ipa });
  });
}

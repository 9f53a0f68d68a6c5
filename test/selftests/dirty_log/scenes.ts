/** The slot of dirty_log_test: pages with bytes, three more than a multiple of 64, logged from the start. */
import { MemslotFlag } from "../../../src/index.ts";
import { machineOf } from "../harness/slot/machines.ts";
import type { SceneOptions } from "../harness/slot/scene.ts";
import { type ModeName, prepareMode } from "./modes.ts";

/** Pages beyond whole words of the bitmap. */
export const ODD = 3;

/** A ring has one page, which is little: it fills up. */
export function dirtyScene(
  mode: ModeName,
  pages: number,
  options: Partial<SceneOptions>,
): SceneOptions {
  const { page } = options.machine ?? machineOf("4K");
  return {
    ...{ kind: "anonymous", size: (pages + ODD) * page, bytes: (pages + ODD + 1) * page },
    ...{ flags: MemslotFlag.LOG_DIRTY_PAGES, hd: mode === "hdbss", judged: false },
    prepare: (vm) => prepareMode(mode, vm, page),
    ...options,
  };
}

/** A scene for a backing of kvm_page_table_test. */
import type { SceneOptions } from "../harness/slot/scene.ts";
import type { Backing } from "./backings.ts";

/** The log is of the manual kind: looking at it changes nothing. */
export function sceneOf(backing: Backing, options: Partial<SceneOptions>): SceneOptions {
  const { kind, pageSize, size } = backing;
  const { prepare, ...others } = options;
  return {
    ...{ kind, size, ...(pageSize === undefined ? {} : { pageSize }) },
    prepare(vm) {
      vm.manualDirtyLogProtect({ initiallySet: false });
      prepare?.(vm);
    },
    ...others,
  };
}

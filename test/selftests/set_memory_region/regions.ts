/** What the tests of set_memory_region share: a machine per page size, a scene per test, errors by their code. */
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import type { VmOptions } from "../../../src/index.ts";
import { errorOf } from "../../support.ts";
import type { Configuration } from "../harness/configurations.ts";
import { Machine, type MachineOptions, type Scene } from "../harness/machine.ts";

/** The scene of the running test. */
export interface Stage {
  readonly scene: Scene;
}

/** A machine for the suite, a fresh VM on it for every test. */
export function stage(
  configuration: Configuration,
  options: Partial<MachineOptions> = {},
  vm: Partial<VmOptions> = {},
): Stage {
  let machine: Machine;
  let scene: Scene | undefined;
  beforeAll(async () => {
    machine = await Machine.open(configuration, { frames: 64, ...options });
  });
  beforeEach(() => {
    scene = machine.scene(vm);
  });
  afterEach(() => scene?.finish());
  afterAll(() => machine.close());
  return {
    get scene() {
      if (scene === undefined) throw new Error("no test is running");
      return scene;
    },
  };
}

/** The errno that an action is refused with. */
export function refusal(action: () => unknown): string {
  return errorOf(action).code;
}

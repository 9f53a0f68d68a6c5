/**
 * Every fault that a walk can end with: each type at each level, on the access itself, on a stage-1 descriptor, and of
 * stage 1; with the registers that tell of it. The last test says that nothing is missing.
 */
import { describe, expect, it } from "vitest";
import { Access, Fault } from "../../src/index.ts";
import { MODES } from "../support.ts";
import { CASES, type Case, STAGE1_SHAPES, STAGE2_SHAPES, stage1Cases, stage2Cases } from "./fault-cases.ts";
import { OTHERS } from "./fault-others.ts";
import { type Machine, hex, machine } from "./machine.ts";

const FSC = {
  addressSize: [0x29, 0x00, 0x01, 0x02, 0x03],
  translation: [0x2b, 0x04, 0x05, 0x06, 0x07],
  accessFlag: [undefined, 0x08, 0x09, 0x0a, 0x0b],
  permission: [undefined, 0x0c, 0x0d, 0x0e, 0x0f],
  externalAbortOnWalk: [0x13, 0x14, 0x15, 0x16, 0x17],
} as const;
const WITHOUT_LEVEL = {
  externalAbort: 0x10,
  alignment: 0x21,
  tlbConflict: 0x30,
  unsupportedAtomicUpdate: 0x31,
} as const;

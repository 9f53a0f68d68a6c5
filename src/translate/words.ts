/** Descriptors in a few words. */
import type { Descriptor, Stage1Leaf, Stage2Leaf, TableDescriptor } from "../descriptor.ts";
import { humanSize } from "../dump.ts";

/**
 * What a descriptor says: where it leads, then what it permits and what else is set. Leaves of stage 1 have permissions of
 * EL1 and of EL0 (`rw-/r--`), of stage 2 those of both, apart only where they differ in execution.
 *
 * @param space  what output addresses are: IPAs at stage 1 where there is a stage 2
 */
export function descriptorWords(fields: Descriptor, space: "IPA" | "PA"): string {
  switch (fields.kind) {
    case "invalid":
      return invalidWords(fields.value, fields.reserved);
    case "table":
      return tableWords(fields, space);
    default:
      return leafWords(fields, space);
  }
}

function invalidWords(value: bigint, reserved: boolean): string {
  if (reserved) return "invalid: no block can be at this level";
  return value === 0n ? "invalid: empty" : "invalid: software's mark";
}

function tableWords({ next, hierarchy }: TableDescriptor, space: string): string {
  const limits = hierarchy && [
    hierarchy.readOnly ? "read-only below" : "",
    hierarchy.noEl0 ? "no EL0 below" : "",
    hierarchy.uxn ? "no EL0 execution below" : "",
    hierarchy.pxn ? "no EL1 execution below" : "",
  ];
  return join([`table at ${space} ${hex(next)}`, ...(limits ?? [])]);
}

function leafWords(leaf: Stage1Leaf | Stage2Leaf, space: string): string {
  const place = `${leaf.kind} of ${humanSize(leaf.size)} at ${space} ${hex(leaf.oa)}`;
  const own = leaf.stage === 1 ? stage1Words(leaf) : stage2Words(leaf);
  return join([
    place,
    ...own,
    SHAREABILITY[leaf.sh ?? "non"],
    leaf.af ? "young" : "old (access flag clear)",
    leaf.dbm ? "dirty state by hardware" : "",
    leaf.contiguous ? "contiguous" : "",
    leaf.nT ? "changing size" : "",
    leaf.software === 0 ? "" : `software bits ${leaf.software.toString(2).padStart(4, "0")}`,
  ]);
}

const SHAREABILITY = {
  non: "",
  reserved: "reserved shareability",
  outer: "outer shareable",
  inner: "inner shareable",
} as const;

function stage1Words(leaf: Stage1Leaf): string[] {
  const { readOnly, el0, uxn, pxn, attrIndex, nG, gp } = leaf;
  const privileged = rights(true, !readOnly, !pxn);
  const user = rights(el0, el0 && !readOnly, !uxn);
  const words = [`${privileged}/${user}`, `memory type ${attrIndex}`];
  return [...words, nG ? "of one ASID" : "", gp ? "guarded" : ""];
}

function stage2Words({ read, write, execute, memory, fnxs }: Stage2Leaf): string[] {
  const both = execute.el0 === execute.el1;
  const at = (may: boolean): string => rights(read, write, may);
  const allowed = both ? at(execute.el1) : `${at(execute.el1)}/${at(execute.el0)}`;
  return [allowed, memory, fnxs ? "FnXS" : ""];
}

function rights(read: boolean, write: boolean, execute: boolean): string {
  return `${read ? "r" : "-"}${write ? "w" : "-"}${execute ? "x" : "-"}`;
}

function join(parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join(", ");
}

/** An address or a register, as everywhere. */
export function hex(value: number | bigint, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

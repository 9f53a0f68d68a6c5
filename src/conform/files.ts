/** Vector files of both kinds. The first line tells which: a file holds one kind only. */
import { type Vector, isHardwareVector, parseVectors } from "../hw/format.ts";
import { inputError, parseJson, readText } from "../input.ts";
import { type Step, parseSteps } from "./vectors.ts";

/** A vector file, read and checked. */
export type VectorFile =
  /** One script of operations on page tables. */
  | { readonly kind: "page-table"; readonly steps: Step[] }
  /** Accesses of a CPU, each by itself. */
  | { readonly kind: "hardware"; readonly vectors: Vector[] };

/** Reads a vector file. @throws Stage2Error `BAD_INPUT` for everything that is none */
export function readVectorFile(path: string): VectorFile {
  const lines = readText(path).split("\n");
  if (lines.at(-1) === "") lines.pop();
  const [first] = lines;
  if (first === undefined) throw inputError(path, "an empty file");
  return isHardwareVector(parseJson(path, first, "line 1"))
    ? { kind: "hardware", vectors: parseVectors(path, lines) }
    : { kind: "page-table", steps: parseSteps(path, lines) };
}

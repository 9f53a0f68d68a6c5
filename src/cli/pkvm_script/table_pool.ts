/** Where the engine's own tables are in physical memory: beside all that a script calls memory. */
import type { MachineRequest } from "./syntax.ts";

const MEBIBYTE = 2 ** 20;
/** Where they are unless memory is there. */
const USUAL = 2 ** 30;
/** Tables are below it, whatever a machine's addresses are wide. */
const TOP_BITS = 47;

/** The physical address of `bytes` of tables: a multiple of 1 MiB. The usual one if there is no room, which the machine refuses. */
export function tableBase({ memory, paBits }: MachineRequest, bytes: number): number {
  const top = 2 ** Math.min(paBits, TOP_BITS);
  const beside = memory.flatMap(({ pa, size }) => [
    Math.ceil((pa + size) / MEBIBYTE) * MEBIBYTE,
    Math.floor((pa - bytes) / MEBIBYTE) * MEBIBYTE,
  ]);
  const isFree = (base: number): boolean =>
    base >= MEBIBYTE &&
    base + bytes <= top &&
    memory.every(({ pa, size }) => pa + size <= base || base + bytes <= pa);
  return [USUAL, ...beside].find(isFree) ?? USUAL;
}

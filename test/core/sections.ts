/**
 * A WebAssembly binary as its list of sections: just enough to see what a module is made of without
 * instantiating it. WebAssembly core specification 2.0, 5.5.
 */
export const SECTION = {
  CUSTOM: 0,
  TYPE: 1,
  IMPORT: 2,
  FUNCTION: 3,
  TABLE: 4,
  MEMORY: 5,
  GLOBAL: 6,
  EXPORT: 7,
  START: 8,
  ELEMENT: 9,
  CODE: 10,
  DATA: 11,
  DATA_COUNT: 12,
} as const;

export interface Section {
  id: number;
  size: number;
}

const PREAMBLE = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** Lists the sections in file order; throws on anything that is not a complete module. */
export function sections(bytes: Uint8Array): Section[] {
  if (PREAMBLE.some((byte, i) => bytes[i] !== byte)) throw new Error("not a wasm 1 module");

  const found: Section[] = [];
  let at = PREAMBLE.length;
  while (at < bytes.length) {
    const id = bytes[at]!;
    const { value: size, end } = readU32(bytes, at + 1);
    found.push({ id, size });
    at = end + size;
  }
  if (at !== bytes.length) throw new Error("the last section leaves the file");
  return found;
}

/** Unsigned LEB128: seven bits a byte, low ones first, the top bit says "more follows". */
function readU32(bytes: Uint8Array, start: number): { value: number; end: number } {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) throw new Error("the file ends inside a number");
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, end: start + i + 1 };
  }
  throw new Error("a number longer than 32 bits");
}

/** What would write to memory, run code or hold function pointers when a module is instantiated. */
export function effectsOfInstantiation(bytes: Uint8Array): number[] {
  const forbidden: number[] = [SECTION.TABLE, SECTION.START, SECTION.ELEMENT, SECTION.DATA];
  return sections(bytes)
    .map((section) => section.id)
    .filter((id) => forbidden.includes(id));
}

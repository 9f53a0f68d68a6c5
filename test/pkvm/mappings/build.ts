/** The ordered map of the EL1 pKVM MMU (assembly/pkvm/mappings/), compiled on its own. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import asc from "assemblyscript/asc";

/** What entry.as exports. */
export interface Exports {
  start(units: number): number;
  join(trees: number): void;
  use(which: number): void;
  setBudget(units: number): void;
  used(): number;
  root(): number;
  height(): number;
  records(): number;
  pages(): number;
  spares(): number;
  finger(): number;
  reserve(): number;
  put(gfn: bigint, pfn: bigint, order: number): number;
  seek(gfn: bigint): number;
  overlaps(gfn: bigint, pages: bigint): number;
  next(): number;
  erase(): void;
  clear(): void;
  gfn(): bigint;
  pfn(): bigint;
  order(): number;
}

const ROOT = join(import.meta.dirname, "../../..");
const ENTRY = "test/pkvm/mappings/entry";
const NODE = "assembly/pkvm/mappings/node.ts";
const ARGUMENTS = [
  `${ENTRY}.ts --outFile mappings.wasm --optimizeLevel 1 --noAssert --runtime stub`,
  "--importMemory --noExportMemory --initialMemory 1 --maximumMemory 65536 --sharedMemory",
  "--enable threads --enable simd --use abort=",
]
  .join(" ")
  .split(" ");

/** How many entries a node has room for, and how few two of them must not have: constants of node.ts that tests choose. */
const SIZES = [
  [/@inline export const CAPACITY: u32 = 254;/, "CAPACITY"],
  [/@inline export const SPARSE: u32 = CAPACITY \/ 2;/, "SPARSE"],
] as const;

/** The map; how large its nodes are is said by whoever makes an instance. */
export async function compile(): Promise<WebAssembly.Module> {
  const files = new Map<string, string | Uint8Array>();
  const messages: string[] = [];
  const { error } = await asc.main([...ARGUMENTS, "--baseDir", ROOT], {
    stderr: { write: (text: string | Uint8Array) => void messages.push(String(text)) },
    readFile: (file, base) => {
      if (file === "asconfig.json") return null; // is about the whole core
      if (file === `${ENTRY}.ts`) return read(join(base, `${ENTRY}.as`));
      const text = read(join(base, file));
      return file === NODE && text !== null ? withSizes(text) : text;
    },
    writeFile: (file, contents) => void files.set(file, contents),
    listFiles: () => [],
  });
  const binary = files.get("mappings.wasm");
  if (error !== null || !(binary instanceof Uint8Array))
    throw new Error(`the map does not compile: ${messages.join("")}`);
  return new WebAssembly.Module(new Uint8Array(binary));
}

function withSizes(source: string): string {
  return SIZES.reduce((text, [pattern, name]) => {
    if (!pattern.test(text)) throw new Error(`${NODE} does not declare ${name} as it used to`);
    return text.replace(pattern, `@external("env", "${name}") export declare const ${name}: u32;`);
  }, source);
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null; // the compiler looks in several places
  }
}

export interface Instance {
  readonly core: Exports;
  readonly memory: WebAssembly.Memory;
  /** Entries of a node, at most. */
  readonly capacity: number;
  /** Neighbours have more than this between them. */
  readonly sparse: number;
  /** Address of the two trees. */
  readonly trees: number;
}

/** Two empty trees, the first in use, over a pool of `units` pages, one of which they lie in. */
export function instantiate(module: WebAssembly.Module, capacity: number, units: number): Instance {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
  const instance = instanceOver(memory, module, capacity);
  const trees = instance.core.start(units);
  if (trees === 0) throw new Error("no memory");
  return { ...instance, trees };
}

/** The same trees as another thread has them: with a cursor of its own. */
export function another(module: WebAssembly.Module, of: Instance): Instance {
  const instance = { ...instanceOver(of.memory, module, of.capacity), trees: of.trees };
  instance.core.join(of.trees);
  return instance;
}

function instanceOver(memory: WebAssembly.Memory, module: WebAssembly.Module, capacity: number) {
  const sparse = Math.floor(capacity / 2);
  const env = { memory, CAPACITY: capacity, SPARSE: sparse };
  const core = new WebAssembly.Instance(module, { env }).exports as unknown as Exports;
  return { core, memory, capacity, sparse };
}

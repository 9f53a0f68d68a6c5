/**
 * Makes every access to memory visible: before each load, store, atomic and vector access, fill and copy, the
 * instrumented binary calls `env.step` (see step.ts). Nothing else changes, so a scheduler or a harness in one thread
 * can act between any two accesses of the very code that is shipped.
 *
 *   (i64.store offset=8 ADDRESS VALUE)     becomes
 *   (i64.store offset=8 (local.tee $a ADDRESS)
 *     (block (result i64) (local.set $v VALUE) (call $step a 8 8 STORE) (local.get $v)))
 *
 * The call is the last thing before the access: it wraps the last operand, after all others were evaluated.
 */
import binaryen from "binaryen";
import { ACCESS, ATOMIC } from "./step.ts";
import { type Tree, lists, parseTree, printTree } from "./tree.ts";

const STEP = "$stage2.step";
const FENCE = ACCESS.FENCE | ATOMIC;
const WIDTHS: Readonly<Record<string, number>> = { i32: 4, i64: 8, f32: 4, f64: 8, v128: 16 };

/** What is known of an access from its opcode. */
interface Site {
  readonly kind: number;
  /** Bytes touched; for a fill or copy the last operand says. */
  readonly bytes: number | "operand";
  /** Type of the last operand. */
  readonly last: string;
}

/** Changes to the module besides the steps. */
export interface Rewrite {
  /** Functions that the module imports in addition. */
  readonly imports: readonly Tree[];
  /** What to put in place of an expression whose operands are instrumented; undefined: treat it as usual. */
  readonly code: (code: readonly Tree[]) => Tree | undefined;
  /** What to add at the end, from the fields of the module. */
  readonly fields: (fields: readonly Tree[]) => readonly Tree[];
}

const NO_REWRITE: Rewrite = { imports: [], code: () => undefined, fields: () => [] };

/** An instrumented copy of a WebAssembly binary. */
export function instrument(binary: Uint8Array): Uint8Array<ArrayBuffer> {
  const module = instrumentedModule(binary, NO_REWRITE);
  const bytes = new Uint8Array(module.emitBinary());
  module.dispose();
  return bytes;
}

/** The same as a module that is still to be worked on; whoever takes it disposes of it. */
export function instrumentedModule(binary: Uint8Array, rewrite: Rewrite): binaryen.Module {
  const original = binaryen.readBinary(binary);
  original.setFeatures(binaryen.Features.All);
  const tree = instrumentFields(parseTree(original.emitText()), rewrite);
  original.dispose();
  const module = binaryen.parseText(printTree(tree));
  module.setFeatures(binaryen.Features.All);
  if (!module.validate()) throw new Error("the instrumented module is not valid");
  return module;
}

function instrumentFields(module: Tree[], rewrite: Rewrite): Tree[] {
  const parameters = ["param", "i32", "i32", "i32", "i32"];
  const step = ["import", '"env"', '"step"', ["func", STEP, parameters]];
  const [head, ...fields] = module;
  const types = fields.filter((field) => field[0] === "type");
  const others = fields.filter((field) => field[0] !== "type");
  const code = others.map((field) => instrumentField(field, rewrite));
  return [head as Tree, ...types, step, ...rewrite.imports, ...code, ...rewrite.fields(fields)];
}

function instrumentField(field: Tree, rewrite: Rewrite): Tree {
  if (!Array.isArray(field) || field[0] !== "func") return field;
  const locals: Tree[] = [];
  const bodyAt = field.findIndex(
    (part) => Array.isArray(part) && !/^(type|param|result|local|export)$/.test(String(part[0])),
  );
  if (bodyAt < 0) return field;
  const body = field.slice(bodyAt).map((part) => instrumentCode(part, locals, rewrite));
  return [...field.slice(0, bodyAt), ...locals, ...body];
}

function instrumentCode(code: Tree, locals: Tree[], rewrite: Rewrite): Tree {
  if (typeof code === "string") return code;
  const inner = code.map((part) => instrumentCode(part, locals, rewrite));
  const rewritten = rewrite.code(inner);
  if (rewritten !== undefined) return rewritten;
  const opcode = String(code[0]);
  if (opcode === "atomic.fence") return ["block", callStep(number(0), 0, number(0), FENCE), inner];
  const site = siteOf(opcode);
  return site === undefined ? inner : instrumentAccess(inner, site, locals);
}

/** Tells what kind of access an opcode is; undefined if it is none. */
function siteOf(opcode: string): Site | undefined {
  if (opcode === "memory.fill") return { kind: ACCESS.FILL, bytes: "operand", last: "i32" };
  if (opcode === "memory.copy") return { kind: ACCESS.COPY_TO, bytes: "operand", last: "i32" };
  const wait = /^memory\.atomic\.(?:wait(32|64)|notify)$/.exec(opcode);
  if (wait?.[1] !== undefined)
    return { kind: ACCESS.WAIT | ATOMIC, bytes: Number(wait[1]) / 8, last: "i64" };
  if (wait !== null) return { kind: ACCESS.NOTIFY | ATOMIC, bytes: 4, last: "i32" };
  const parts = /^([ifv]\d+)\.(atomic\.)?(load|store|rmw)(\d*)(x\d)?(.*)$/.exec(opcode);
  if (parts === null) return refuseUnknown(opcode);
  const [, type = "", atomic, verb, bits, times, rest = ""] = parts;
  return {
    kind: kindOf(verb, rest) | (atomic === undefined ? 0 : ATOMIC),
    bytes: times !== undefined ? 8 : bits === "" ? (WIDTHS[type] as number) : Number(bits) / 8,
    last: verb === "load" && !rest.includes("lane") ? "i32" : type,
  };
}

function kindOf(verb: string | undefined, rest: string): number {
  if (verb === "load") return ACCESS.LOAD;
  if (verb === "store") return ACCESS.STORE;
  return rest.includes("cmpxchg") ? ACCESS.COMPARE_EXCHANGE : ACCESS.READ_MODIFY_WRITE;
}

/** An opcode that names memory and is not understood would go unseen: better not to build at all. */
function refuseUnknown(opcode: string): undefined {
  const touches = /^(memory\.(?!size$|grow$)|.*atomic|.*\.(load|store))/.test(opcode);
  if (touches) throw new Error(`cannot instrument ${opcode}`);
  return undefined;
}

function instrumentAccess(code: Tree[], site: Site, locals: Tree[]): Tree {
  const operands = lists(code);
  const [address, source] = operands as [Tree[], Tree[]];
  const last = operands.at(-1) as Tree[];
  const atAddress = newLocal("i32", locals);
  const atLast = last === address ? atAddress : newLocal(site.last, locals);
  const bytes = site.bytes === "operand" ? ["local.get", atLast] : number(site.bytes);
  const calls = [callStep(["local.get", atAddress], offsetOf(code), bytes, site.kind)];
  const replaced = new Map<Tree, Tree>([[address, ["local.tee", atAddress, address]]]);
  if (site.kind === ACCESS.COPY_TO) {
    const atSource = newLocal("i32", locals);
    replaced.set(source, ["local.tee", atSource, source]);
    calls.unshift(callStep(["local.get", atSource], 0, bytes, ACCESS.COPY_FROM));
  }
  const set = ["local.set", atLast, last];
  replaced.set(last, ["block", ["result", site.last], set, ...calls, ["local.get", atLast]]);
  return code.map((part) => replaced.get(part) ?? part);
}

function newLocal(type: string, locals: Tree[]): string {
  const name = `$stage2.${locals.length}`;
  locals.push(["local", name, type]);
  return name;
}

export function offsetOf(code: readonly Tree[]): number {
  const atom = code.find((part) => typeof part === "string" && part.startsWith("offset="));
  return atom === undefined ? 0 : Number((atom as string).slice("offset=".length));
}

function callStep(address: Tree, offset: number, bytes: Tree, kind: number): Tree {
  return ["call", STEP, address, number(offset), bytes, number(kind)];
}

export function number(value: number): Tree {
  return ["i32.const", String(value)];
}

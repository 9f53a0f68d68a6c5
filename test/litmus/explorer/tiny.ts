/** Programs of a few accesses each, on a memory of a few words: what the explorer itself is tested with. */
import binaryen from "binaryen";
import type { Case, Subject } from "../../../src/explorer/explore.ts";
import type { Program } from "../../../src/explorer/litmus.ts";
import { Scene } from "../../../src/explorer/scene.ts";
import { agentBuild } from "../../../src/instrument/agents.ts";

const SOURCE = `(module
  (import "env" "memory" (memory 2 2 shared))
  (global $calls (mut i32) (i32.const 0))
  (func (export "load") (param i32) (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.atomic.load (local.get 0)))
  (func (export "store") (param i32 i32)
    (i32.atomic.store (local.get 0) (local.get 1)))
  (func (export "add") (param i32 i32) (result i32)
    (i32.atomic.rmw.add (local.get 0) (local.get 1)))
  (func (export "increment") (param i32)
    (i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (i32.const 1))))
  (func (export "cas") (param i32 i32 i32) (result i32)
    (i32.atomic.rmw.cmpxchg (local.get 0) (local.get 1) (local.get 2)))
  (func (export "wait") (param i32 i32 i64) (result i32)
    (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
  (func (export "notify") (param i32 i32) (result i32)
    (memory.atomic.notify (local.get 0) (local.get 1)))
  (func (export "calls") (result i32) (global.get $calls))
  (func (export "spin") (param i32)
    (loop $again (br_if $again (i32.eqz (i32.atomic.load (local.get 0))))))
  (func (export "trap") (param i32) (i32.store (local.get 0) (i32.const 1)) (unreachable)))`;

/** The module's functions. Addresses are `at(word)`. */
export interface Tiny {
  load(address: number): number;
  store(address: number, value: number): void;
  add(address: number, value: number): number;
  /** Loads and stores one more: two accesses. */
  increment(address: number): void;
  cas(address: number, expected: number, next: number): number;
  wait(address: number, expected: number, timeout: bigint): number;
  notify(address: number, count: number): number;
  /** Calls of `load` so far, which only a global remembers. */
  calls(): number;
  spin(address: number): void;
  trap(address: number): void;
}

const WORDS = 0x1_0000 / 4;

/** Address of a word, above where frames lie. */
export function at(word: number): number {
  return (WORDS + word) * 4;
}

let build: WebAssembly.Module | undefined;

function tinyModule(): WebAssembly.Module {
  if (build !== undefined) return build;
  const module = binaryen.parseText(SOURCE);
  module.setFeatures(binaryen.Features.All);
  build = new WebAssembly.Module(agentBuild(module.emitBinary()));
  return build;
}

/** What the programs of one schedule are, from a look at a word of the memory. */
export type Make = (
  agents: readonly Tiny[],
  read: (word: number) => number,
) => Omit<Case, "programs"> & { readonly programs: readonly Program[] };

export interface TinySubject extends Subject {
  /** Looks at a word. */
  readonly read: (word: number) => number;
}

export function tiny(agents: number, make: Make, mostAccesses = 10_000): TinySubject {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
  const names = Array.from({ length: agents }, (_, index) => String.fromCharCode(65 + index));
  const scene = new Scene({ module: tinyModule(), memory, names, mostAccesses });
  scene.remember();
  const cores = scene.coroutines.map(({ core }) => core as unknown as Tiny);
  const words = new Int32Array(memory.buffer);
  const read = (word: number): number => {
    scene.looksAt(at(word), 4);
    return words[WORDS + word] as number;
  };
  return { scene, read, begin: () => make(cores, read) };
}

/** A program of calls one after the other; `seen` gets each result. */
export function* calls(
  list: readonly (() => number | void)[],
  seen: (result: number) => void = () => undefined,
): Program {
  for (const call of list) seen(yield call);
}

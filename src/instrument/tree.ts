/** WebAssembly text as a tree: a list is an expression, a string an atom. */
export type Tree = string | Tree[];

const TOKEN = /\s+|;;[^\n]*|\(;[^]*?;\)|"(?:[^"\\]|\\.)*"|[()]|[^\s()";]+/g;

/** Parses one expression, such as a module. */
export function parseTree(text: string): Tree[] {
  const root: Tree[] = [];
  const open: Tree[][] = [root];
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "(") open.push([]);
    else if (token === ")") closeList(open);
    else if (!/^(\s|;;|\(;)/.test(token)) open.at(-1)?.push(token);
  }
  const [tree] = root;
  if (open.length !== 1 || root.length !== 1 || !Array.isArray(tree))
    throw new Error("this is not one WebAssembly expression");
  return tree;
}

function closeList(open: Tree[][]): void {
  const list = open.pop() as Tree[];
  const outer = open.at(-1);
  if (outer === undefined) throw new Error("a closing bracket without an opening one");
  outer.push(list);
}

export function printTree(tree: Tree): string {
  return typeof tree === "string" ? tree : `(${tree.map(printTree).join(" ")})`;
}

/** The sub-expressions of an expression, without its atoms. */
export function lists(tree: readonly Tree[]): Tree[][] {
  return tree.filter((part) => Array.isArray(part));
}

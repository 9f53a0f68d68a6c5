// @ts-check
/** One cold start in a fresh process, as JSON: what a program waits for before its first page is mapped. */
const before = performance.now();
const { Engine, Prot } = await import("stage2");
const imported = performance.now();
const engine = await Engine.create();
const created = performance.now();
const s2 = engine.stage2();
s2.map({ ipa: 0, size: 4096, pa: 2 ** 32, prot: Prot.RWX });
const mapped = performance.now();

console.log(
  JSON.stringify({
    import: imported - before,
    create: created - imported,
    "first map": mapped - created,
  }),
);

import { it } from "vitest";
import { writeFileSync } from "node:fs";
import { Engine, Prot, type Stage2 } from "../../src/index.ts";
import { Checker } from "../../src/checker/checker.ts";
import { casemateTrace } from "../../src/casemate/trace.ts";
it("x", async () => {
  const engine = await Engine.create({ maxTablePages: 4096 });
  const B = 2 ** 21, P = 4096;
  for (const [name, options] of Object.entries({ default: {}, range: { tlbiRange: true }, deferred: { fwb: true, tlbiRange: true }, b39: { ipaBits: 39 }, b48: { ipaBits: 48 }, b32: { ipaBits: 32 } })) {
    const s2 = engine.stage2({ ...options, events: Checker.EVENTS });
    s2.map({ ipa: 0, size: B, pa: 2 ** 30, prot: Prot.RW });
    s2.map({ ipa: P, size: P, pa: 2 ** 31, prot: Prot.RW });
    s2.map({ ipa: 2 * P, size: P, pa: 2 ** 31, prot: Prot.RW });
    s2.map({ ipa: 2 * P, size: P, pa: 2 ** 31 + 2 ** 20, prot: Prot.RW });
    s2.map({ ipa: 0, size: B, pa: 2 ** 31, prot: Prot.RW });
    s2.split({ ipa: 0, size: B });
    s2.wrprotect({ ipa: 0, size: B });
    s2.tlbFlushRange({ ipa: 0, size: B });
    s2.testClearYoung({ ipa: 0, size: B });
    s2.relaxPerms({ ipa: 0, prot: Prot.RW });
    s2.map({ ipa: 4 * B, size: 4 * P, pa: 2 ** 29, prot: Prot.RW });
    s2.unmap({ ipa: 4 * B, size: 4 * P });
    s2.map({ ipa: 0, size: B, pa: 2 ** 30, prot: Prot.RW });
    s2.unmap({ ipa: 0, size: B });
    s2.map({ ipa: B, size: 2 * P, pa: 2 ** 30, prot: Prot.RW });
    s2.dispose();
    writeFileSync(`/tmp/helperD/${name}.log`, [...casemateTrace(engine.events.drain())].join("\n") + "\n");
  }
  engine.dispose();
});

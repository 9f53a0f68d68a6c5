// @ts-check
import { Engine } from "stage2";

addEventListener("message", async ({ data }) => {
  const engine = await Engine.attach(data.engine);
  postMessage(engine.attachStage2(data.s2).raw.lookup(data.ipa));
});

/** The agent build (src/instrument/agents.ts) of the core, compiled once a thread. */
import { agents } from "virtual:stage2-agents";

let compiled: WebAssembly.Module | undefined;

export function agentModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(Buffer.from(agents, "base64"));
  return compiled;
}

/** The compiled core as base64, inlined when the sources are bundled or tested (vite.config.ts). */
declare module "virtual:stage2-core" {
  /** Built for a shared memory. */
  export const threads: string;
  /** Built for a plain memory: one thread. */
  export const single: string;
}

/** A file's text, inlined by the bundler. */
declare module "*?raw" {
  // The bundler hands over the text as the default export; only importers of `?raw` meet one.
  const content: string;
  export default content;
}

/** The release core with every memory access announced, inlined likewise (src/instrument/plugin.ts). */
declare module "virtual:stage2-instrumented" {
  /** Base64; imports `env.step` besides its memory. */
  export const instrumented: string;
}

/** The same for agents: calls can be left at an access and taken up again (src/instrument/agents.ts). */
declare module "virtual:stage2-agents" {
  /** Base64; imports `step`, `wait32`, `wait64` and `notify` besides its memory. */
  export const agents: string;
}

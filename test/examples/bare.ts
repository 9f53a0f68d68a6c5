/** Small programs on the example's processor: MMU off, no stage 2, HVC ends them. */
import { Engine } from "../../src/index.ts";
// @ts-expect-error the example is JavaScript
import { assemble } from "../../examples/machine/assemble.mjs";
// @ts-expect-error the example is JavaScript
import { Cpu } from "../../examples/machine/cpu.mjs";

export const BASE = 0x1000_0000;

/** What the tests look at of a processor that stopped. */
export interface Stopped {
  readonly x: BigUint64Array;
  readonly nzcv: bigint;
  readonly retired: number;
  readonly labels: Readonly<Record<string, number>>;
}

/** Memory and a vCPU, for many programs one after the other. */
export async function bareMachine() {
  const engine = await Engine.create({ guestRam: { pa: BASE, size: 0x1_0000 } });
  const vcpu = engine.vcpu();
  return {
    engine,
    /** Runs a program whose first registers hold `values`. */
    run(program: string, ...values: bigint[]): Stopped {
      const { image, labels } = assemble(program, BASE);
      engine.memoryMap.bytes(BASE, image.length).set(image);
      const stop = {
        abort(_: unknown, fault: unknown) {
          throw new Error(`unexpected: ${String(fault)}`);
        },
        call(cpu: { stopped: boolean }) {
          cpu.stopped = true;
        },
      };
      const cpu = new Cpu(vcpu, stop);
      cpu.pc = BigInt(BASE);
      values.forEach((value, index) => (cpu.x[index] = value));
      cpu.run(1000);
      return { x: cpu.x, nzcv: cpu.nzcv, retired: cpu.retired, labels };
    },
  };
}

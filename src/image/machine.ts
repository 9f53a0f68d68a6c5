/** A vCPU before a table image: it walks the dumped tables where they lay, with the registers of the stopped CPUs. */
import { Engine, type Mode } from "../engine.ts";
import type { Vcpu } from "../vcpu.ts";
import type { CpuState } from "./cpu.ts";
import type { Page, TableImage } from "./format.ts";
import { engineWith } from "./ram.ts";

/** Bits of descriptors. */
const VALID = 1n;
const TABLE_OR_PAGE = 2n;
const AF = 1n << 10n;
const LAST_LEVEL = 3;

/** What {@link ImageMachine.create} takes. */
export interface ImageMachineOptions {
  readonly mode?: Mode | undefined;
  /** Every leaf has its access flag, whatever was dumped. */
  readonly young?: boolean;
}

/** Dispose it: its memory is as large as the stretches of physical memory that the pages lie in. */
export class ImageMachine implements Disposable {
  readonly image: TableImage;
  readonly vcpu: Vcpu;
  readonly #engine: Engine;

  /** @throws Stage2Error `BAD_INPUT` if the pages cannot be placed */
  static async create(image: TableImage, options: ImageMachineOptions = {}): Promise<ImageMachine> {
    const engine = await engineWith(image, options.mode ?? "threads");
    const machine = new ImageMachine(image, engine);
    if (options.young) for (const page of image.pages) machine.#makeYoung(page);
    return machine;
  }

  private constructor(image: TableImage, engine: Engine) {
    this.image = image;
    this.#engine = engine;
    this.vcpu = engine.vcpu(undefined, { tlb: false });
  }

  /** Makes the vCPU the one that this is the state of. */
  load({ registers, el, pan }: CpuState): void {
    this.vcpu.setRegisters(registers);
    this.vcpu.el = el;
    this.vcpu.pan = pan;
  }

  /** Whether every descriptor that a translation needs lies in a dumped page. */
  isKnown(address: bigint, access: number): boolean {
    return this.vcpu.trace(address, access).steps.every(({ pa }) => this.isDumped(pa));
  }

  /** Whether a physical address lies in a dumped page: what lies between them reads as zero, and was never seen. */
  isDumped(address: number): boolean {
    return this.image.pages.some(({ pa, size }) => address >= pa && address < pa + size);
  }

  /** Sets the access flag of every leaf of a page, by the levels that it stands at. */
  #makeYoung({ pa, size, places }: Page): void {
    const { buffer, byteOffset } = this.#engine.memoryMap.bytes(pa, size);
    const words = new BigUint64Array(buffer, byteOffset, size / 8);
    for (const level of new Set(places.map((place) => place.level))) {
      words.forEach((word, i) => {
        const leaf = level === LAST_LEVEL || (word & TABLE_OR_PAGE) === 0n;
        if ((word & VALID) !== 0n && leaf) words[i] = word | AF;
      });
    }
  }

  dispose(): void {
    this.#engine.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

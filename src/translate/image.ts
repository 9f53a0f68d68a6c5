/** Translations through a table image, by the registers of one of its CPUs. */
import { inputError } from "../_input.ts";
import { type CpuState, atLevel, regimeState, stoppedState } from "../image/cpu.ts";
import { type TableImage, regimeNamed } from "../image/format.ts";
import { ImageMachine } from "../image/machine.ts";
import { type AccessName, type WalkDocument, walk } from "./document.ts";

/** What is to be translated. */
export interface ImageRequest {
  readonly address: bigint;
  readonly access: AccessName;
  /** The regime whose input address it is. Default: the guest that was stopped, with both stages as far as they are on. */
  readonly regime?: string | undefined;
  /** Exception level. Default: that of the regime, or of the stopped CPU. */
  readonly el?: 0 | 1 | 2 | undefined;
}

/** Walks one address. @throws Stage2Error `BAD_INPUT` if the image has no such regime, no registers, or no stopped guest */
export async function walkImage(image: TableImage, request: ImageRequest): Promise<WalkDocument> {
  const { address, access, regime: name } = request;
  const found = name === undefined ? guestOf(image) : regimeState(image, regimeNamed(image, name));
  const state = request.el === undefined ? found : atLevel(found, request.el);
  if (state === undefined) {
    throw inputError(image.name, `${name ?? "the guest"} does not translate for EL${request.el}`);
  }
  const machine = await ImageMachine.create(image);
  try {
    machine.load(state);
    const document = walk(machine.vcpu, {
      ...{ address, access, source: image.name, virtual: state.stages !== "stage 2" },
      machine: `${name ?? `CPU ${state.cpu}`}, ${state.stages}`,
      standsForEl2: state.standsForEl2,
    });
    const steps = document.steps.map((step) =>
      machine.isDumped(step.pa) ? step : { ...step, unknown: true as const },
    );
    return { ...document, steps };
  } finally {
    machine.dispose();
  }
}

/** The guest that was stopped, if its tables are there. */
function guestOf(image: TableImage): CpuState {
  const [cpu] = image.guestCpus;
  if (cpu === undefined)
    throw inputError(image.name, "no CPU was stopped in a guest: name a regime");
  const state = stoppedState(image, cpu);
  const root = (state.registers.vttbrEl2 ?? 0n) & VTTBR_BADDR;
  const dumped = image.regimes.some((regime) => regime.stage === 2 && BigInt(regime.root) === root);
  if (state.stages !== "stage 1" && dumped) return state;
  throw inputError(
    image.name,
    `the tables of the guest on CPU ${cpu} are not in it: name a regime`,
  );
}

/** VTTBR_EL2: the VMID is above, CnP below. */
const VTTBR_BADDR = 0x0000_ffff_ffff_fffen;

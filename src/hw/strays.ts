/**
 * Vectors that change memory which is none of theirs. Usually there are none, and one look at the whole memory behind a
 * file shows that. Otherwise every vector is made again while the places are watched.
 */
import type { Difference } from "./compare.ts";
import type { Vector } from "./format.ts";
import { type Run, type VectorMachine, runsOf } from "./machine.ts";
import { initialWord } from "./memory.ts";

/** The first thing about a vector that is not as recorded, and in which run. */
export interface VectorDifference extends Difference {
  readonly run: Run;
}

/** How many words are watched at most. */
const WATCHED = 256;

/** Looks at the memory behind a file, and leaves it as it was in the beginning. */
export function findStrays(
  machine: VectorMachine,
  vectors: readonly Vector[],
): Map<Vector, VectorDifference> {
  const { memory } = machine;
  const found = new Map<Vector, VectorDifference>();
  const watched = memory.changed(WATCHED);
  if (watched.length === 0) return found;
  const strayed = (pa: number, run: Run): VectorDifference => ({
    run,
    field: `memory at 0x${pa.toString(16)}, which is not the vector's`,
    ...{ expected: initialWord(pa), actual: memory.read(pa) },
  });
  const [pa] = watched as [number];
  const unexplained = strayed(pa, "access");
  memory.reset();
  for (const vector of vectors) {
    for (const run of runsOf(vector)) {
      replayQuietly(machine, vector, run);
      for (const at of watched.filter((pa) => memory.read(pa) !== initialWord(pa))) {
        if (!found.has(vector)) found.set(vector, strayed(at, run));
        memory.restore(at);
      }
    }
  }
  memory.reset();
  // If it does not happen again the file must not pass for that.
  if (found.size === 0) found.set(vectors.at(-1) as Vector, unexplained);
  return found;
}

/** A vector that crashes has been told of already. */
function replayQuietly(machine: VectorMachine, vector: Vector, run: Run): void {
  try {
    machine.play(vector, run, () => undefined);
  } catch {
    // what it changed until then is looked at all the same
  }
}

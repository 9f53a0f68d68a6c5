/** Answers of the embedder that come later, and what comes before them: a signal, the end of the vCPU. */
import type { VcpuContext } from "./_vcpu_context.ts";

/**
 * The answer, unless the signal or the end of the vCPU come first; then it is dropped. @throws what the promise is rejected with; the
 * signal's reason; Stage2Error `DISPOSED`
 */
export async function answered<T>(
  vcpu: VcpuContext,
  answer: PromiseLike<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  let abort = (): void => {};
  try {
    const value = await new Promise<T>((resolve, reject) => {
      abort = () => reject(signal?.reason as Error);
      vcpu.interrupt = reject;
      if (signal?.aborted === true) abort();
      signal?.addEventListener("abort", abort, { once: true });
      answer.then(resolve, reject);
    });
    void vcpu.pointer; // it may have come to its end since the answer came
    return value;
  } finally {
    signal?.removeEventListener("abort", abort);
    vcpu.interrupt = undefined;
  }
}

/**
 * What an instrumented core tells its host before each access to the shared memory: `step(address, offset, bytes,
 * kind)`, imported from `env`. The access touches `bytes` bytes at `address + offset`.
 */

/** Kinds of access. {@link ATOMIC} is added to those that are atomic. */
export const ACCESS = {
  LOAD: 0,
  STORE: 1,
  READ_MODIFY_WRITE: 2,
  COMPARE_EXCHANGE: 3,
  WAIT: 4,
  NOTIFY: 5,
  FILL: 6,
  COPY_FROM: 7,
  COPY_TO: 8,
  /** A barrier; it has no address. */
  FENCE: 9,
} as const;

export const ATOMIC = 16;

/** One access that is about to happen. */
export interface Access {
  readonly address: number;
  readonly bytes: number;
  /** One of {@link ACCESS}. */
  readonly kind: number;
  readonly atomic: boolean;
}

/** The imports that an instrumented core needs besides its memory. */
export function stepImports(onAccess: (access: Access) => void): WebAssembly.ModuleImports {
  return {
    step: (address: number, offset: number, bytes: number, kind: number) =>
      onAccess({
        address: (address + offset) >>> 0,
        bytes: bytes >>> 0,
        kind: kind & ~ATOMIC,
        atomic: (kind & ATOMIC) !== 0,
      }),
  };
}

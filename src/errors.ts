/**
 * The one error class, and the errno the core returns.
 *
 * What KVM means as "try again" (-EAGAIN) is a return value of the operations that can answer it; every other errno is
 * thrown with its name as `code`. Misuse that no errno covers has its own code and changes nothing.
 */

/** The errno by number: those of the page-table library and of the KVM MMU, and what visitors of walks commonly return. */
const ERRNO_NAMES = {
  1: "EPERM",
  2: "ENOENT",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  8: "ENOEXEC",
  11: "EAGAIN",
  12: "ENOMEM",
  14: "EFAULT",
  16: "EBUSY",
  17: "EEXIST",
  22: "EINVAL",
  24: "EMFILE",
  34: "ERANGE",
  35: "EDEADLK",
  38: "ENOSYS",
  110: "ETIMEDOUT",
  133: "EHWPOISON",
} as const;

/** Name of an errno. */
export type ErrnoCode = (typeof ERRNO_NAMES)[keyof typeof ERRNO_NAMES];

/** Misuse that no errno covers. */
export type MisuseCode =
  /** An address that is no exact integer in [0, 2^53]. */
  | "BAD_ADDRESS"
  /** A size that is zero, no exact integer, or makes the range end above 2^53. */
  | "BAD_SIZE"
  /** Unknown bits in a protection. */
  | "BAD_PROT"
  /** An unknown option, or a value an option does not take. */
  | "BAD_OPTION"
  /** The object, or its engine, was disposed. */
  | "DISPOSED"
  /** The object belongs to another engine or page table. */
  | "FOREIGN"
  /** Threads were asked for where shared memory cannot be had. */
  | "NO_SHARED_MEMORY"
  /** The region holds no engine. */
  | "NOT_STAGE2_MEMORY"
  /** The region was laid out by another version of the engine. */
  | "BAD_VERSION"
  /** The memory or region cannot hold what was asked for. */
  | "MEMORY_TOO_SMALL"
  /** Every thread slot of the engine is taken. */
  | "TOO_MANY_THREADS"
  /** A file that is missing, truncated, corrupt, or of another format. */
  | "BAD_INPUT";

/** Every `code` a {@link Stage2Error} can carry. */
export type ErrorCode = ErrnoCode | MisuseCode;

/** Everything that goes wrong is thrown as this. */
export class Stage2Error extends Error {
  override readonly name = "Stage2Error";
  /** What went wrong: an errno by name, or a misuse. Stable, for programs. */
  readonly code: ErrorCode;
  /** The errno (positive) if the core refused. */
  declare readonly errno?: number; // no field of its own where there is none
  /** The offending values, by the names of the arguments. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, details: object = {}, errno?: number) {
    super(`${message}${describe(details)}`);
    this.code = code;
    this.details = { ...details };
    if (errno !== undefined) this.errno = errno;
  }
}

/** The error for a negative `status` that `operation` returned. */
export function errnoError(status: number, operation: string, details: object = {}): Stage2Error {
  const errno = -status;
  const code = errnoName(errno);
  if (code === undefined) throw new RangeError(`the core returned the unknown errno ${errno}`);
  return new Stage2Error(code, `${operation}: ${code}`, details, errno);
}

/** Passes on a result of the core; a negative one is thrown. */
export function check(status: number, operation: string, details?: object): number {
  if (status < 0) throw errnoError(status, operation, details);
  return status;
}

/** Name of a positive errno. */
export function errnoName(errno: number): ErrnoCode | undefined {
  return ERRNO_NAMES[errno as keyof typeof ERRNO_NAMES];
}

/** Passes on whether an operation went through; -EAGAIN is "again", any other errno is thrown. */
export function checkAgain(status: number, operation: string, details?: object): "ok" | "again" {
  if (status >= 0) return "ok";
  if (status === -EAGAIN) return "again";
  throw errnoError(status, operation, details);
}

/** Errno that are told apart by name in the sources. */
export const EPERM = 1;
export const ENOENT = 2;
export const EIO = 5;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const EINVAL = 22;
export const EMFILE = 24;
export const EDEADLK = 35;
export const ETIMEDOUT = 110;
/** No errno of the reference: the page table was disposed while the call waited for its lock. Thrown as `DISPOSED`. */
export const ESTALE = 116;

function describe(details: object): string {
  const parts = Object.entries(details)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${show(value)}`);
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}

/** Large numbers in hex, as addresses are read. */
function show(value: unknown): string {
  if (typeof value === "bigint" && value >= 0n) return `0x${value.toString(16)}`;
  if (typeof value === "number" && Number.isInteger(value) && value >= 4096)
    return `0x${value.toString(16)}`;
  if (Array.isArray(value)) return `[${value.map(show).join(", ")}]`;
  if (typeof value === "object" && value !== null) return `[${typeof value}]`;
  return String(value);
}

/** Files from outside: read and unpacked, with one kind of error for everything that can be wrong with them. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { inputError } from "./_input.ts";
import { Stage2Error } from "./errors.ts";

export { inputError, parseJson } from "./_input.ts";

/** The bytes of a file; gzip is recognised by its magic number and unpacked. */
export function readBytes(path: string): Uint8Array {
  const bytes = readRaw(path);
  const whole = bytes[0] === 0x1f && bytes[1] === 0x8b ? unpack(path, bytes) : bytes;
  // A plain array, not Node's Buffer, whose `slice` shares its bytes instead of copying them.
  return new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength);
}

/** The text of a file that must be UTF-8, unpacked like {@link readBytes}. */
export function readText(path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readBytes(path));
  } catch (error) {
    if (error instanceof Stage2Error) throw error;
    throw inputError(path, "not a text file (invalid UTF-8)");
  }
}

function readRaw(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw inputError(path, reason(error));
  }
}

function unpack(path: string, bytes: Uint8Array): Uint8Array {
  try {
    return gunzipSync(bytes);
  } catch (error) {
    const truncated = (error as NodeJS.ErrnoException).code === "Z_BUF_ERROR";
    throw inputError(path, truncated ? "truncated gzip data" : "corrupt gzip data");
  }
}

function reason(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
    case "ENOTDIR":
      return "no such file";
    case "EISDIR":
      return "is a directory";
    case "EACCES":
      return "no permission to read it";
    default:
      return "cannot be read";
  }
}

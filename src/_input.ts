/** The one kind of error for inputs that cannot be used. Needs nothing of the host; reading files is in input.ts. */
import { Stage2Error } from "./errors.ts";

/** The error for an input that cannot be used. Messages start with its path and fit on one line. */
export function inputError(path: string, message: string): Stage2Error {
  return new Stage2Error("BAD_INPUT", `${path}: ${message}`);
}

/** Parses one JSON value; `place` names it in the message ("line 7"). */
export function parseJson(path: string, text: string, place = ""): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw inputError(path, `${place === "" ? "" : `${place}: `}not valid JSON`);
  }
}

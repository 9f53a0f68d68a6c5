/** Refusals because something is taken, in words that say what can be done. */
import { EBUSY, ETIMEDOUT, Stage2Error } from "../errors.ts";
import type { VmPlace } from "./_place.ts";

/** Says what a thread that may not block can do. */
export function withHint(error: Stage2Error, operation: string): Stage2Error {
  if (error.errno === EBUSY) error.message += `: use ${operation}Async`;
  return error;
}

/** The refusal when the patience of an operation that waits without blocking is over. */
export function waited(error: Stage2Error, place: VmPlace, operation: string): Stage2Error {
  if (error.errno !== EBUSY) return error;
  const { patience } = place.context;
  const { waitingFor } = error.details as { waitingFor?: string };
  const what = waitingFor === undefined ? "what it needs" : `the ${waitingFor}`;
  const message = `${operation}: waited ${patience} ms in vain for ${what}, which another thread has`;
  return new Stage2Error("ETIMEDOUT", message, { ...error.details, patience }, ETIMEDOUT);
}

/**
 * The checker: reads the event stream of an engine, keeps a shadow of every page table, and says where the rules for
 * changing live translations were broken, and by whom.
 *
 *     const s2 = engine.stage2({ events: Checker.EVENTS });
 *     const checker = new Checker();
 *     checker.watch(s2);
 *     ...                                       // operations, vCPUs with events: ["walks", "updates", "tlb"]
 *     for (const violation of checker.drain(engine)) console.log(String(violation));
 *
 * It judges the order of the log. Threads log after they store, so that two that change one entry at the same time may
 * stand in the log the other way round: then a verdict on that entry is about the log.
 */
import { KIND_HYP, OPTION } from "../_abi.ts";
import { type EventGroup, type Granule, pageShift } from "../_options.ts";
import { Stage2View } from "../_view.ts";
import type { Engine } from "../engine.ts";
import { Stage2Error } from "../errors.ts";
import { choiceOption, flagOption, integerOption, knownOptions } from "../range.ts";
import type { BbmLevel, Format } from "./_bits.ts";
import { Case } from "./_case.ts";
import { onConflict, onContiguous, onRead, onStale, onUpdate } from "./_cpu_rules.ts";
import { onWrite } from "./_entry_rules.ts";
import { onAlloc, onFree, reportLoose } from "./_page_rules.ts";
import type { Tree } from "./_shadow.ts";
import { stepsOf } from "./_steps.ts";
import { type Observed, type Of, agentOf } from "./_stream.ts";
import type { Violation } from "./rules.ts";

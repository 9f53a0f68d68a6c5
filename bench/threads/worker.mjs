// @ts-check
/** A thread of the crew for the roles of roles.mjs. */
import { ROLES } from "./roles.mjs";
import { serve } from "./serve.mjs";

await serve(ROLES);

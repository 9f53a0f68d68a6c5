/** page_fault_test on machines with pages of 64K. */
import { pageFaultSuite } from "./suite.ts";

pageFaultSuite("64K");

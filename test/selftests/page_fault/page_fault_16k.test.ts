/** page_fault_test on machines with pages of 16K. */
import { pageFaultSuite } from "./suite.ts";

pageFaultSuite("16K");

/** page_fault_test on machines with pages of 4K. */
import { pageFaultSuite } from "./suite.ts";

pageFaultSuite("4K");

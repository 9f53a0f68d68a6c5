/** What the colours of the ownership picture mean, and how much there is of each: a list that finds room in any width. */
import { CATEGORIES, totalsOf } from "./category.ts";
import type { OwnershipMap } from "./map.ts";
import { element, escape } from "./svg.ts";
import { bytes } from "./words.ts";

const SWATCH = { width: 16, height: 14 };

/** HTML, for above the picture of the same map: its swatches have their colours and stripes from there. */
export function ownershipLegend(map: OwnershipMap): string {
  const items = totalsOf(map).map(([category, size]) => {
    const inside = element("rect", { class: `k-${category}`, ...SWATCH });
    const swatch = element("svg", { class: "ownership", ...SWATCH, "aria-hidden": "true" }, inside);
    return `<li>${swatch}<span>${escape(CATEGORIES[category])} <small>${bytes(size)}</small></span></li>`;
  });
  return `<ul class="owners">${items.join("")}</ul>`;
}

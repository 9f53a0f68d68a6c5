/**
 * Colours of the ownership picture. Host, hypervisor and guests are blue, orange and green of different lightness, which
 * people who see fewer colours tell apart; what is shared has stripes, what is borrowed a dashed frame, and every cell says it in
 * words.
 */
import type { Category } from "./category.ts";
import { element } from "./svg.ts";

const LIGHT = `--o-host:#a9cbe9;--o-hyp:#b8500a;--o-guest:#007a5e;--o-secure:#5b3f94;--o-none:#eef0f4;--o-edge:#1f5f99;
--o-on-host:#10243a;--o-on:#fff;--o-text:#1b2230;--o-dim:#5d687a;--o-line:#c9d0da;--o-back:#fff`;
const DARK = `--o-host:#2f567c;--o-hyp:#f2994a;--o-guest:#3fd0a3;--o-secure:#cdb8f5;--o-none:#222a36;--o-edge:#7db9ee;
--o-on-host:#eaf3fb;--o-on:#10141b;--o-text:#e6eaf1;--o-dim:#93a0b4;--o-line:#3a4454;--o-back:#181e28`;

/** Embedded in the picture: it needs no other file, and follows the reader's choice of light or dark. */
export const STYLE = `.ownership{${LIGHT};font:12px system-ui,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){.ownership{${DARK}}}
.ownership text{fill:var(--o-text)}
.ownership .dim{fill:var(--o-dim)}
.ownership .mono{fill:var(--o-dim);font:11px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.ownership .lane{font-weight:600}
.ownership .region{font-size:14px;font-weight:650}
.ownership .mid{text-anchor:middle}
.ownership .end{text-anchor:end}
.ownership .on{fill:var(--o-on);font-weight:600}.ownership .on-host{fill:var(--o-on-host);font-weight:600}
.ownership .small{font-size:10.5px;font-weight:400}
.ownership .link{fill:var(--o-line);opacity:.35}
.ownership .frame{fill:none;stroke:var(--o-line)}
.ownership .empty{fill:var(--o-none)}
.ownership g:hover>.cell{stroke:var(--o-text);stroke-width:1.5}
.ownership .host{fill:var(--o-host)}.ownership .hyp{fill:var(--o-hyp)}.ownership .guest{fill:var(--o-guest)}
.ownership .borrowed{fill:var(--o-none);stroke-width:1.5;stroke-dasharray:4 3}
.ownership .borrowed.host{stroke:var(--o-edge);fill:color-mix(in srgb,var(--o-host) 22%,var(--o-back))}
.ownership .borrowed.hyp{stroke:var(--o-hyp);fill:color-mix(in srgb,var(--o-hyp) 14%,var(--o-back))}
.ownership .borrowed.guest{stroke:var(--o-guest);fill:color-mix(in srgb,var(--o-guest) 14%,var(--o-back))}
.ownership .k-host{fill:var(--o-host)}.ownership .k-hyp{fill:var(--o-hyp)}.ownership .k-guest{fill:var(--o-guest)}
.ownership .k-host-hyp{fill:url(#o-host-hyp)}.ownership .k-host-guest{fill:url(#o-host-guest)}
.ownership .k-host-secure{fill:url(#o-host-secure)}.ownership .k-guest-host{fill:url(#o-guest-host)}
.ownership .k-nobody{fill:var(--o-none)}.ownership .k-closed{fill:url(#o-closed)}`;

/** The owner's colour with stripes of who else has it. */
const STRIPES: readonly (readonly [Category, string, string])[] = [
  ["host-hyp", "--o-host", "--o-hyp"],
  ["host-guest", "--o-host", "--o-guest"],
  ["host-secure", "--o-host", "--o-secure"],
  ["guest-host", "--o-guest", "--o-host"],
  ["closed", "--o-none", "--o-dim"],
];

const SIDE = 8;
const STRIPE = 2.6;

/** The patterns that the style speaks of. */
export function patterns(): string {
  const turned = "rotate(45)";
  const each = STRIPES.map(([name, back, front]) =>
    element(
      "pattern",
      {
        id: `o-${name}`,
        width: SIDE,
        height: SIDE,
        patternUnits: "userSpaceOnUse",
        patternTransform: turned,
      },
      element("rect", { width: SIDE, height: SIDE, style: `fill:var(${back})` }),
      element("rect", {
        width: name === "closed" ? 1 : STRIPE,
        height: SIDE,
        style: `fill:var(${front})`,
      }),
    ),
  );
  return element("defs", {}, ...each);
}

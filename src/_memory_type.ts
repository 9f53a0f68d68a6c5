/** Memory types in words: MemAttr of stage-2 descriptors, ATTR as MAIR_ELx and PAR_EL1 have it (Arm ARM D24.2, MAIR_EL1). */

const DEVICE = ["Device-nGnRnE", "Device-nGnRE", "Device-nGRE", "Device-GRE"] as const;
const CACHING = ["reserved", "non-cacheable", "write-through", "write-back"] as const;

/** MemAttr[3:0] of a stage-2 leaf (Arm ARM D8.6.4; D8.6.5 with HCR_EL2.FWB). */
export function memAttrWords(memAttr: number, fwb: boolean): string {
  if (fwb) {
    if ((memAttr & 4) === 0) return DEVICE[memAttr & 3] as string;
    return FORCED[memAttr & 3] as string;
  }
  if (memAttr < 4) return DEVICE[memAttr] as string;
  return normalWords(CACHING[memAttr >> 2] as string, CACHING[memAttr & 3] as string);
}

const FORCED = [
  "reserved",
  "Normal non-cacheable, unless stage 1 says Device",
  "Normal write-back, whatever stage 1 says",
  "as stage 1 says",
] as const;

function normalWords(outer: string, inner: string): string {
  if (outer === "reserved" || inner === "reserved") return "reserved";
  return outer === inner ? `Normal ${inner}` : `Normal inner ${inner}, outer ${outer}`;
}

/** An 8-bit memory attribute. */
export function attrWords(attr: number): string {
  if (attr < 0x10) return DEVICE[(attr >> 2) & 3] as string;
  return normalWords(halfWords(attr >> 4), halfWords(attr & 15));
}

/** Four bits of an attribute: 0100 non-cacheable, 00RW and 10RW write-through, 01RW and 11RW write-back. */
function halfWords(half: number): string {
  if (half === 4) return "non-cacheable";
  if (half === 0) return "reserved";
  return (half & 4) === 0 ? "write-through" : "write-back";
}

/** Table images that are not what they should be: each is refused with a message that says what and where. */
import { describe, expect, it } from "vitest";
import { Stage2Error } from "../../src/errors.ts";
import { parseImage } from "../../src/image/format.ts";
import { type SmallJson, smallImage } from "./support.ts";

/** The error for the small image after `change`. */
function refusal(change: (json: SmallJson) => void): Stage2Error {
  const { json, bytes } = smallImage();
  change(json);
  try {
    parseImage("small.tables.json", json, bytes);
  } catch (error) {
    if (error instanceof Stage2Error) return error;
    throw error;
  }
  throw new Error("accepted");
}

const regime = (json: SmallJson) => json.regimes[0]!;
const page = (json: SmallJson) => json.pages[1]!;

describe("parseImage", () => {
  it("takes the small image as it is", () => {
    const { json, bytes } = smallImage();
    const image = parseImage("small.tables.json", json, bytes);
    expect(image.regimes[0]).toMatchObject({
      stage: 2,
      pageShift: 16,
      iaBits: 42,
      root: 0x4_0000_0000,
    });
    expect(image.pages.map(({ pa }) => pa)).toEqual([0x4_0000_0000, 0x4_0001_0000]);
  });

  it.each<[string, (json: SmallJson) => void, RegExp]>([
    ["no name", (json) => delete json.name, /name is missing/],
    ["a size that the .bin has not", (json) => (json.bin_size = 65536), /bin_size is 65536/],
    [
      "a size that is no number",
      (json) => (json.bin_size = "131072"),
      /bin_size is not an integer/,
    ],
    ["no regimes", (json) => delete (json as Partial<SmallJson>).regimes, /regimes is missing/],
    [
      "a regime twice",
      (json) => json.regimes.push({ ...regime(json) }),
      /regimes has a name twice/,
    ],
    ["a regime without a CPU", (json) => (regime(json).regime = "s2"), /names no CPU/],
    ["a granule of 8 KiB", (json) => (regime(json).granule = 8192), /granule is not 4096/],
    ["a root that is no address", (json) => (regime(json).root = 5), /root is not a hex number/],
    [
      "a root beyond 52 bits",
      (json) => (regime(json).root = "0x10000000000000"),
      /not a 52-bit address/,
    ],
    [
      "a root that is not aligned",
      (json) => (regime(json).root = "0x400000008"),
      /root is not aligned/,
    ],
    ["input addresses of 53 bits", (json) => (regime(json).ia_bits = 53), /ia_bits is not in/],
    [
      "a start level that cannot be",
      (json) => (regime(json).start_level = 3),
      /start level that does not/,
    ],
    [
      "a start level without entries",
      (json) => (regime(json).start_level = 0),
      /start level that does not/,
    ],
    ["no VTCR", (json) => delete regime(json).vtcr, /vtcr is missing/],
    [
      "leaf counts that are no object",
      (json) => (regime(json).leaves_by_level = []),
      /is not an object/,
    ],
    ["pages that overlap", (json) => (page(json).offset = 0), /do not lie back to back/],
    ["a page that is cut off", (json) => (page(json).size = 4096), /end at 69632, but bin_size/],
    ["a page that is not aligned", (json) => (page(json).pa = "0x400011000"), /pa is not aligned/],
    [
      "a page of no regime",
      (json) => (page(json).in = [{ regime: "s2.cpu7", level: 3, ia: "0x0" }]),
      /no regime/,
    ],
    ["a page without a place list", (json) => delete page(json).in, /pages\[1\]\.in is missing/],
  ])("refuses %s", (_what, change, message) => {
    const error = refusal(change);
    expect(error.code).toBe("BAD_INPUT");
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^small\.tables\.json: /);
  });

  it.each([null, [], "image", 7])("refuses %j", (json) => {
    expect(() => parseImage("x", json, new Uint8Array())).toThrow("x: is not an object");
  });
});

/**
 * Checked reading of a JSON document: every access names what it expects, and what does not fit is an input error that
 * says where.
 */
import { inputError } from "../_input.ts";

/** A hexadecimal number as the images write them. */
const HEX = /^0x[0-9a-f]{1,16}$/;

/** One value of a document, with its place in it. */
export class JsonNode {
  constructor(
    readonly path: string,
    readonly value: unknown,
    readonly place = "",
  ) {}

  /** A member that must be there. */
  get(key: string): JsonNode {
    const value = this.#record()[key];
    const member = new JsonNode(this.path, value, this.#placeOf(key));
    return value === undefined ? member.fail("is missing") : member;
  }

  /** A member that may be absent or null. */
  maybe(key: string): JsonNode | undefined {
    const value = this.#record()[key];
    return value === undefined || value === null ? undefined : this.get(key);
  }

  /** The members of an object, by name. */
  members(): [string, JsonNode][] {
    return Object.keys(this.#record()).map((key) => [key, this.get(key)]);
  }

  list(): JsonNode[] {
    if (!Array.isArray(this.value)) return this.fail("is not a list");
    return this.value.map((item, i) => new JsonNode(this.path, item, `${this.place}[${i}]`));
  }

  text(): string {
    return typeof this.value === "string" ? this.value : this.fail("is not a string");
  }

  flag(): boolean {
    if (this.value === 0 || this.value === 1) return this.value === 1;
    return typeof this.value === "boolean" ? this.value : this.fail("is not a flag");
  }

  integer(min: number, max: number): number {
    const value = this.value;
    if (typeof value !== "number" || !Number.isInteger(value))
      return this.fail("is not an integer");
    return value >= min && value <= max ? value : this.fail(`is not in ${min} .. ${max}`);
  }

  isWord(): boolean {
    return typeof this.value === "string" && HEX.test(this.value);
  }

  /** A 64-bit word, written in hex. */
  word(): bigint {
    return this.isWord() ? BigInt(this.value as string) : this.fail("is not a hex number");
  }

  /** A physical or guest physical address, written in hex: at most 52 bits. */
  address(): number {
    const word = this.word();
    return word < 2n ** 52n ? Number(word) : this.fail("is not a 52-bit address");
  }

  fail(message: string): never {
    throw inputError(this.path, this.place === "" ? message : `${this.place} ${message}`);
  }

  #record(): Record<string, unknown> {
    const { value } = this;
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return this.fail("is not an object");
    return value as Record<string, unknown>;
  }

  #placeOf(key: string): string {
    if (this.place === "") return key;
    return this.place.endsWith(":") ? `${this.place} ${key}` : `${this.place}.${key}`;
  }
}

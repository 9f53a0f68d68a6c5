/**
 * Between doubles and integers by their bits. A conversion instruction checks for everything a double can be, and takes
 * some 25 cycles on x86; adding a power of two that leaves no room below the point takes four.
 */

// @ts-ignore: decorator
@inline const TWO_52: f64 = 4503599627370496.0;
// @ts-ignore: decorator
@inline const TWO_52_BITS: u64 = 0x4330_0000_0000_0000;
/** 1.5 * 2^52: what is added below or above it leaves the exponent alone. */
// @ts-ignore: decorator
@inline const MIDDLE: f64 = 6755399441055744.0;
// @ts-ignore: decorator
@inline const MIDDLE_BITS: u64 = 0x4338_0000_0000_0000;

/** An integer from 0 to 2^52 - 1. Any other number gives something at or above 2^52. */
// @ts-ignore: decorator
@inline export function fromNumber(value: f64): u64 { return reinterpret<u64>(value + TWO_52) - TWO_52_BITS; }

/** The twelve lowest bits of an integer from 0 to 2^52 - 1. */
// @ts-ignore: decorator
@inline export function inPage(value: f64): u64 { return reinterpret<u64>(value + TWO_52) & 0xfff; }

/** A double from an integer below 2^52. */
// @ts-ignore: decorator
@inline export function toNumber(value: u64): f64 { return reinterpret<f64>(value | TWO_52_BITS) - TWO_52; }

/** An address or size, exact up to 2^53. */
// @ts-ignore: decorator
@inline export function word(value: f64): u64 {
  const bits = fromNumber(value);
  return bits >> 52 ? converted(value) : bits;
}

/** A signed address, exact from -2^53 to 2^53. */
// @ts-ignore: decorator
@inline export function signedWord(value: f64): u64 {
  const bits = reinterpret<u64>(value + MIDDLE);
  return bits >> 52 == 0x433 ? bits - MIDDLE_BITS : converted(value);
}

/** How often the short way was too short. Counting has an effect, or the compiler would do both ways and select one. */
let conversions: u32 = 0;

function converted(value: f64): u64 {
  conversions++;
  return <u64><i64>value;
}

/** Results are 0, a value, or one of these, negated (Linux numbers). */

// @ts-ignore: decorator
@inline export const EPERM: i32 = 1;
// @ts-ignore: decorator
@inline export const ENOENT: i32 = 2;
// @ts-ignore: decorator
@inline export const EIO: i32 = 5;
// @ts-ignore: decorator
@inline export const ENXIO: i32 = 6;
// @ts-ignore: decorator
@inline export const E2BIG: i32 = 7;
// @ts-ignore: decorator
@inline export const EAGAIN: i32 = 11;
// @ts-ignore: decorator
@inline export const ENOMEM: i32 = 12;
// @ts-ignore: decorator
@inline export const EFAULT: i32 = 14;
// @ts-ignore: decorator
@inline export const EBUSY: i32 = 16;
// @ts-ignore: decorator
@inline export const EEXIST: i32 = 17;
// @ts-ignore: decorator
@inline export const EINVAL: i32 = 22;
// @ts-ignore: decorator
@inline export const EMFILE: i32 = 24;
// @ts-ignore: decorator
@inline export const ERANGE: i32 = 34;
// @ts-ignore: decorator
@inline export const EDEADLK: i32 = 35;
// @ts-ignore: decorator
@inline export const ENOSYS: i32 = 38;
// @ts-ignore: decorator
@inline export const ETIMEDOUT: i32 = 110;
// @ts-ignore: decorator
@inline export const ESTALE: i32 = 116;
// @ts-ignore: decorator
@inline export const EHWPOISON: i32 = 133;

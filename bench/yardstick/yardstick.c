/*
 * yardstick.c - the practical limit for the page-table workloads W1..W11, in plain native C.
 *
 * Straight-line code for one format: ARM64 stage 2, 4 KiB granule, 40-bit input addresses, so
 * levels 1, 2, 3 below two concatenated start tables (1024 entries in all).  Only table memory
 * is touched: no callbacks, locks, TLB or cache maintenance.  What a hardware walker or another
 * thread may write is changed by one atomic operation an entry; a new table is complete before
 * a release store links it.  Calls on ranges take whole 1 GiB (one level 1 entry) each.
 *
 *     gcc -O3 -march=native -o yardstick yardstick.c
 *     ./yardstick [--reps N] [--only W5]          JSON on stdout, ns per unit, medians
 *
 * The rows are the workloads of the benchmark beside it.  What is left out, and so what a ratio
 * to these figures includes: locks, maintenance, callbacks, other granules, sizes and ranges,
 * atomic reference counts.
 *
 * Every result is checked; a failed check prints its line and exits with status 1.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define LANES 8                         /* entries in the machine's own vector: a wider one */
#elif defined(__AVX2__)                 /* would be split, and badly */
#define LANES 4
#else
#define LANES 2
#endif

typedef uint64_t u64;
typedef u64 vec __attribute__((vector_size(8 * LANES), may_alias));
#define INL static inline __attribute__((always_inline))
#ifdef __clang__
#define NI static __attribute__((noinline))
#else
#define NI static __attribute__((noinline, noipa))              /* a real call, as an API has */
#endif
#define RARE(x) __builtin_expect(!!(x), 0)
#define CHECK(x) \
	do if (RARE(!(x))) { fprintf(stderr, "check failed, line %d: %s\n", __LINE__, #x); exit(1); } while (0)

/* ---- format ---- */
#define VALID 1ull
#define TYPE 3ull                       /* 3: table (levels 1, 2) or page (level 3); 1: block */
#define WRITE (1ull << 7)               /* S2AP[1] */
#define AF (1ull << 10)                 /* access flag: set = young */
#define RWX 0x7fcull                    /* AF, inner shareable, read + write, write-back, XN 0 */
#define ADDR 0x0000fffffffff000ull      /* output address, or address of the next table */
#define M2 (1ull << 21)
#define G1 (1ull << 30)
#define IABITS 40

/* ---- table memory: "physical" address 0 is arena[0]; pages 0 and 1 are the start tables ---- */
#define POOL 8256u                      /* 16 GiB of scattered pages need 16 + 8192 tables */
static u64 arena[(2 + POOL) * 512] __attribute__((aligned(1 << 21)));
static uint32_t refs[2 + POOL];         /* entries in use, for each table */
static uint32_t freel[POOL], nfree;     /* stack of free pages.  A free page is all zero, and */
                                        /* unmap keeps it so at no cost: it frees emptied tables */
INL u64 ld(const u64 *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
INL u64 swap0(u64 *p) { return __atomic_exchange_n(p, 0, __ATOMIC_RELAXED); }
INL void publish(u64 *p, u64 d) { __atomic_store_n(p, d, __ATOMIC_RELEASE); }
INL int is_table(u64 d) { return (d & TYPE) == TYPE; }
INL u64 *table(u64 d) { return (u64 *)((char *)arena + (d & ADDR)); }
INL u64 link_to(const u64 *t) { return (u64)((const char *)t - (const char *)arena) | TYPE; }
INL uint32_t *ref(const u64 *p) { return &refs[(p - arena) >> 9]; }     /* of the table p is in */
INL unsigned ix(u64 ia, int shift) { return ia >> shift & 511; }

INL u64 *take(void) { CHECK(nfree); return arena + freel[--nfree] * 512ull; }
INL void drop(u64 *p, u64 *t)           /* unlink the emptied table t from entry p, and free it */
{
	swap0(p);
	--*ref(p);
	freel[nfree++] = (t - arena) >> 9;
}
static void refill(void)                /* pages in the same order for every measurement */
{
	CHECK(nfree == 0 || nfree == POOL);
	for (nfree = 0; nfree < POOL; nfree++) freel[nfree] = 1 + POOL - nfree;
}

/* ---- SIMD: fill a table; find the entries of a line that have all bits of want ---- */
INL void fill(u64 *t, u64 d, u64 step)
{
	vec v = { 0 };
	*ref(t) = 512;
	for (int i = 0; i < LANES; i++) v[i] = d + i * step;
	for (u64 *e = t + 512; t < e; t += LANES, v += LANES * step) *(vec *)t = v;
}
INL u64 match8(const u64 *p, u64 want)  /* a hint only: what it finds is then changed atomically */
{
#if defined(__AVX512F__)
	__m512i w = _mm512_set1_epi64(want);
	return _mm512_cmpeq_epi64_mask(_mm512_and_si512(_mm512_load_si512(p), w), w);
#elif defined(__AVX2__)
	__m256i w = _mm256_set1_epi64x(want), *q = (__m256i *)p;
	__m256i a = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_load_si256(q), w), w);
	__m256i b = _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_load_si256(q + 1), w), w);
	return _mm256_movemask_pd((__m256d)a) | _mm256_movemask_pd((__m256d)b) << 4;
#else
	u64 m = 0;
	for (int i = 0; i < 8; i++) m |= (u64)((ld(p + i) & want) == want) << i;
	return m;
#endif
}

/* ---- map: W1, W3 (one page a call), W2 (1 GiB of pages), W2b (1 GiB of blocks) ---- */
static int map_page(u64 ia, u64 pa, u64 attr);
static __attribute__((noinline, cold)) int map_deeper(u64 *p, u64 ia, u64 pa, u64 attr)
{
	if (ld(p)) return -1;
	++*ref(p);
	publish(p, link_to(take()));
	return map_page(ia, pa, attr);
}
NI int map_page(u64 ia, u64 pa, u64 attr)
{
	if (RARE(ia >> IABITS)) return -1;
	u64 *p = arena + (ia >> 30), d = ld(p);
	if (RARE(!is_table(d))) return map_deeper(p, ia, pa, attr);
	p = table(d) + ix(ia, 21), d = ld(p);
	if (RARE(!is_table(d))) return map_deeper(p, ia, pa, attr);
	p = table(d) + ix(ia, 12);
	if (RARE(ld(p))) return -1;
	++refs[(d & ADDR) >> 12];
	publish(p, pa | attr | TYPE);
	return 0;
}
INL int map_1g(u64 ia, u64 pa, u64 attr, int blocks)
{
	u64 *p = arena + (ia >> 30);
	if (ia >> IABITS || ld(p)) return -1;
	u64 *t = take();                        /* not linked yet, so its stores need no order */
	if (blocks) fill(t, pa | attr | VALID, M2);
	else for (unsigned i = 0; i < 512; i++, pa += M2) {
		u64 *leaf = take();
		fill(leaf, pa | attr | TYPE, 4096);
		t[i] = link_to(leaf);
	}
	*ref(t) = 512;
	++*ref(p);
	publish(p, link_to(t));
	return 0;
}
NI int map_1g_pages(u64 ia, u64 pa, u64 attr) { return map_1g(ia, pa, attr, 0); }
NI int map_1g_blocks(u64 ia, u64 pa, u64 attr) { return map_1g(ia, pa, attr, 1); }

/* ---- walk: W8, W11c; find() is also the walk of the one-page calls below ---- */
INL u64 *find(u64 ia, u64 *d, unsigned *level)
{
	u64 *p = arena + (ia >> 30);
	*d = 0, *level = 1;
	if (RARE(ia >> IABITS)) return arena;
	if (RARE(!is_table(*d = ld(p)))) return p;
	p = table(*d) + ix(ia, 21), *level = 2;
	if (RARE(!is_table(*d = ld(p)))) return p;
	p = table(*d) + ix(ia, 12), *level = 3;
	*d = ld(p);
	return p;
}
struct leaf { u64 desc; u64 level; };   /* comes back in two registers */
NI struct leaf get_leaf(u64 ia) { u64 d; unsigned l; find(ia, &d, &l); return (struct leaf){ d, l }; }

/* A translation: PA[47:4], bit 1 read, bit 2 write, bit 3 XN; or 1, where there is none. */
INL u64 answer(u64 d, u64 ia, u64 size)
{
	return d & VALID ? (d & ADDR) | (ia & (size - 1) & ~15ull) | (d >> 5 & 6) | (d >> 51 & 8) : 1;
}
INL u64 walk(u64 ia) { u64 d; unsigned l; find(ia, &d, &l); return answer(d, ia, 1ull << (39 - 9 * l)); }
NI u64 translate(u64 ia) { return walk(ia); }

/* ---- W11a, W11b: w walks abreast; each step prefetches the next entry of all of them ---- */
INL void batch(const u64 *ia, u64 *pa, unsigned n, const unsigned w)
{
	for (; n >= w; n -= w, ia += w, pa += w) {
		const u64 *p[64];
		u64 d, all = TYPE, any = 0;
		for (unsigned k = 0; k < w; k++) any |= ia[k];
		if (RARE(any >> IABITS)) goto slow;
		for (unsigned k = 0; k < w; k++) {
			all &= d = ld(arena + (ia[k] >> 30));
			__builtin_prefetch(p[k] = table(d) + ix(ia[k], 21));
		}
		if (RARE(all != TYPE)) goto slow;               /* a block or a hole: one by one */
		for (unsigned k = 0; k < w; k++) {
			all &= d = ld(p[k]);
			__builtin_prefetch(p[k] = table(d) + ix(ia[k], 12));
		}
		if (RARE(all != TYPE)) goto slow;
		for (unsigned k = 0; k < w; k++) pa[k] = answer(ld(p[k]), ia[k], 4096);
		continue;
slow:		for (unsigned k = 0; k < w; k++) pa[k] = walk(ia[k]);
	}
	while (n--) *pa++ = walk(*ia++);
}
NI void batch4(const u64 *ia, u64 *pa, unsigned n) { batch(ia, pa, n, 4); }
NI void batch16(const u64 *ia, u64 *pa, unsigned n) { batch(ia, pa, n, 16); }
NI void batch64(const u64 *ia, u64 *pa, unsigned n) { batch(ia, pa, n, 64); }

/* ---- W4, W5a-c: an atomic AND on each valid entry that has the bit; how many had it ---- */
INL u64 clear1(u64 *p, u64 bit) { return (__atomic_fetch_and(p, ~bit, __ATOMIC_RELAXED) & bit) != 0; }
INL u64 clear_1g(u64 ia, const u64 bit)
{
	u64 count = 0, m[4], d1;
	if (ia >> IABITS || !is_table(d1 = ld(arena + (ia >> 30)))) return 0;
	for (u64 *p2 = table(d1), *e2 = p2 + 512; p2 < e2; p2++) {
		u64 d = ld(p2), *p = table(d);
		if (!is_table(d)) {
			if ((d & (bit | VALID)) == (bit | VALID)) count += clear1(p2, bit);
			continue;
		}
		/* 256 entries are scanned without a branch, and only then the hits visited. */
		for (u64 *e = p + 512; p < e; p += 256) {
#pragma GCC unroll 4
			for (int i = 0; i < 4; i++) {
				m[i] = 0;
#pragma GCC unroll 8
				for (int k = 0; k < 64; k += 8) m[i] |= match8(p + 64 * i + k, bit | VALID) << k;
			}
#pragma GCC unroll 4
			for (int i = 0; i < 4; i++)
				for (; m[i]; m[i] &= m[i] - 1) count += clear1(p + 64 * i + __builtin_ctzll(m[i]), bit);
		}
	}
	return count;
}
NI u64 write_protect_1g(u64 ia) { return clear_1g(ia, WRITE); }
NI u64 age_1g(u64 ia) { return clear_1g(ia, AF); }

/* ---- one page a call: W5d age, W6 relax permissions, W7 make young ---- */
NI int age_page(u64 ia)
{
	u64 d; unsigned level;
	u64 *p = find(ia, &d, &level);
	return (d & (AF | VALID)) == (AF | VALID) && clear1(p, AF);
}
INL int set_bits(u64 ia, u64 bits)
{
	u64 d; unsigned level;
	u64 *p = find(ia, &d, &level);
	do {
		if (!(d & VALID)) return -1;
		if ((d & bits) == bits) return 0;
	} while (!__atomic_compare_exchange_n(p, &d, d | bits, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	return 1;
}
NI int relax(u64 ia, u64 bits) { return set_bits(ia, bits); }
NI int make_young(u64 ia) { return set_bits(ia, AF); }

/* ---- W9: blocks to page tables: fill one, break the block (CAS), make the link (release) ---- */
NI unsigned split_1g(u64 ia)
{
	unsigned count = 0;
	u64 d1;
	if (ia >> IABITS || !is_table(d1 = ld(arena + (ia >> 30)))) return 0;
	for (u64 *p = table(d1), *e = p + 512; p < e; p++) {
		u64 d = ld(p);
		if ((d & TYPE) != VALID) continue;
		u64 *t = take();
		do fill(t, d | TYPE, 4096);
		while (!__atomic_compare_exchange_n(p, &d, 0, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
		publish(p, link_to(t));
		count++;
	}
	return count;
}

/* ---- W10: an atomic exchange on each valid entry; a table left with none is freed ---- */
NI u64 unmap_1g(u64 ia)
{
	u64 count = 0, *p1 = arena + (ia >> 30), d1;
	if (ia >> IABITS || !is_table(d1 = ld(p1))) return 0;
	for (u64 *p2 = table(d1), *e2 = p2 + 512; p2 < e2; p2++) {
		u64 d = ld(p2), *t = table(d), c = 0;
		if (!is_table(d)) { c = d & VALID && swap0(p2) & VALID; *ref(p2) -= c; count += c; continue; }
		for (u64 *p = t; p < t + 512; p++) if (ld(p) & VALID) c += swap0(p) & VALID;
		count += c;
		if (!(*ref(t) -= c)) drop(p2, t);
	}
	if (!*ref(table(d1))) drop(p1, table(d1));
	return count;
}
NI u64 unmap_page(u64 ia)
{
	if (RARE(ia >> IABITS)) return 0;
	u64 *p1 = arena + (ia >> 30), d1 = ld(p1), *p2 = table(d1) + ix(ia, 21);
	if (RARE(!is_table(d1))) return 0;
	u64 d2 = ld(p2), *p3 = table(d2) + ix(ia, 12);
	if (RARE(!is_table(d2)) || !(ld(p3) & VALID)) return 0;
	u64 d3 = swap0(p3);
	if (RARE(!--refs[(d2 & ADDR) >> 12])) {
		drop(p2, table(d2));
		if (!*ref(p2)) drop(p1, table(d1));
	}
	return d3 & VALID;
}

/* ---- measurement ---- */
#define N 262144ull
#define BASE (4 * G1)                   /* the 1 GiB of most workloads; W3 uses 0..16 GiB */
#define NB 64ull                        /* W2b: 64 calls, as one takes no longer than the clock */
#define PA(ia) ((ia) + (1ull << 44))
#define MAXREPS 999
static u64 in[4][N] __attribute__((aligned(1 << 21)));
static u64 *const perm = in[0];         /* the pages of 1 GiB, shuffled */
static u64 *const spread = in[1], *const again = in[2];         /* N pages of 16 GiB, shuffled twice */
static u64 *const out = in[3];
static struct row { const char *name, *unit; double v[MAXREPS]; } rows[32];
static unsigned nrows, rep;

static double now(void)
{
	struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}
static void rec(const char *name, const char *unit, double ns)
{
	struct row *r = rows;
	while (r < rows + nrows && strcmp(r->name, name)) r++;
	if (r == rows + nrows) nrows++, r->name = name, r->unit = unit;
	if (!r->v[rep] || ns < r->v[rep]) r->v[rep] = ns;       /* variants share a row: the best */
}
#define TIME(name, unit, ops, ...) \
	do { double t_ = now(); __VA_ARGS__; rec(name, unit, (now() - t_) / (ops)); } while (0)
#define EACH for (u64 i = 0; i < N; i++)
#define SEQ(i) (BASE + ((i) << 12))

static u64 rnd(void) { static u64 s = 88172645463325252ull; s ^= s << 13; s ^= s >> 7; return s ^= s << 17; }
static void shuffle(u64 *a)
{
	for (u64 i = N - 1; i; i--) { u64 j = rnd() % (i + 1), t = a[i]; a[i] = a[j]; a[j] = t; }
}
static u64 set_young(unsigned every, int random)        /* AF on 1 page in so many only; on how many */
{
	u64 c = 0, d, young;
	unsigned l;
	EACH {
		u64 *p = find(SEQ(i), &d, &l);
		c += young = (random ? rnd() : i) % every == 0;
		*p = young ? d | AF : d & ~AF;
	}
	return c;
}
static u64 having(u64 mask, u64 value)                  /* pages at the right PA with these bits */
{
	u64 c = 0;
	EACH { struct leaf l = get_leaf(SEQ(i)); c += l.level == 3 && (l.desc & (ADDR | mask)) == (PA(SEQ(i)) | value); }
	return c;
}
static int empty(u64 pages)                             /* all tables freed, these pages all zero */
{
	u64 any = 0;
	for (u64 *p = arena; p < arena + pages * 512; p++) any |= *p;
	return !any && nfree == POOL && !refs[0] && !refs[1];
}
static void lookups(const char *w8, const char *w11, const u64 *ia)
{
	void (*way[])(const u64 *, u64 *, unsigned) = { batch4, batch16, batch64 };
	u64 s = 0, levels = 0;
	TIME(w8, "walk", N, EACH { struct leaf l = get_leaf(ia[i]); s += l.desc; levels += l.level; });
	EACH s -= PA(ia[i]) | RWX | TYPE;
	CHECK(!s && levels == 3 * N);
	for (int w = 0; w < 3; w++) {
		memset(out, 0, sizeof *in);
		TIME(w11, "walk", N, way[w](ia, out, N));
		EACH CHECK(out[i] == (PA(ia[i]) | 6));
	}
}
static void one_round(void)
{
	u64 s = 0, x = 0, young;
	refill();                                       /* first a map untimed: caches start alike */
	EACH map_page(SEQ(i), PA(SEQ(i)), RWX);
	CHECK(unmap_1g(BASE) == N);
	refill();
	TIME("W1", "page", N, EACH s += map_page(SEQ(i), PA(SEQ(i)), RWX));
	CHECK(!s && having(AF | WRITE, AF | WRITE) == N);
	lookups("W8a", "W11a", perm);
	TIME("W11c", "walk", N, EACH s += x = translate(perm[i] ^ (x & 1)));    /* x & 1 is always 0 */
	EACH s -= PA(perm[i]) | 6;
	CHECK(!s);
	TIME("W4", "page", N, s = write_protect_1g(BASE)); CHECK(s == N && having(AF | WRITE, AF) == N);
	TIME("W6", "page", N, EACH s -= relax(perm[i], WRITE)); CHECK(!s && having(AF | WRITE, AF | WRITE) == N);
	TIME("W5a", "page", N, s = age_1g(BASE)); CHECK(s == N && having(AF, 0) == N);
	TIME("W5b", "page", N, s = age_1g(BASE)); CHECK(!s);
	young = set_young(100, 0);
	TIME("W5c", "page", N, s = age_1g(BASE)); CHECK(s == young && having(AF, 0) == N);
	young = set_young(100, 1);
	TIME("W5c-random", "page", N, s = age_1g(BASE)); CHECK(s == young && having(AF, 0) == N);
	set_young(1, 0), s = 0;
	TIME("W5d", "page", N, EACH s += age_page(SEQ(i))); CHECK(s == N && having(AF, 0) == N);
	TIME("W7", "page", N, EACH s -= make_young(perm[i])); CHECK(!s && having(AF, AF) == N);
	TIME("W10a", "page", N, s = unmap_1g(BASE)); CHECK(s == N && empty(2 + 513));
	refill();
	TIME("W2", "page", N, s = map_1g_pages(BASE, PA(BASE), RWX)); CHECK(!s && having(AF | WRITE, AF | WRITE) == N);
	TIME("W10b", "page", N, EACH s += unmap_page(SEQ(i))); CHECK(s == N && empty(2 + 513));
	refill(), s = 0;
	TIME("W2b", "block", NB * 512, for (u64 a = 0; a < NB * G1; a += G1) s += map_1g_blocks(a, PA(a) + M2, RWX));
	for (u64 a = 0; a < NB * G1; a += M2) CHECK(get_leaf(a).desc == ((PA(a) + M2) | RWX | VALID));
	for (u64 a = 0; a < NB * G1; a += G1) s += unmap_1g(a);
	CHECK(s == NB * 512 && empty(2 + NB) && !map_1g_blocks(BASE, PA(BASE), RWX));
	TIME("W9", "page", N, s = split_1g(BASE)); CHECK(s == 512 && having(AF | WRITE | TYPE, AF | WRITE | TYPE) == N);
	CHECK(unmap_1g(BASE) == N);
	refill(), s = 0;
	TIME("W3", "page", N, EACH s += map_page(spread[i], PA(spread[i]), RWX));
	CHECK(!s && nfree == POOL - 16 - 8192);
	lookups("W8b", "W11b", again);
	for (u64 a = 0; a < 16 * G1; a += G1) s += unmap_1g(a);
	CHECK(s == N && empty(2 + POOL));
}

static int by_value(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}
int main(int argc, char **argv)
{
	const char *only = "", *comma = "";
	int reps = 9;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--reps") && i + 1 < argc) reps = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
		else reps = 0;
	}
	if (reps < 1 || reps > MAXREPS) { fprintf(stderr, "usage: %s [--reps 1..999] [--only W5]\n", *argv); return 2; }
	madvise(arena, sizeof arena, MADV_HUGEPAGE);            /* advice: it works without, too */
	madvise(in, sizeof in, MADV_HUGEPAGE);
	memset(arena, 0, sizeof arena);
	EACH perm[i] = SEQ(i), spread[i] = (i * 16 + rnd() % 16) << 12;
	shuffle(perm), shuffle(spread), memcpy(again, spread, sizeof *in), shuffle(again);
	one_round();                                            /* warm-up: its figures are dropped */
	for (unsigned i = 0; i < nrows; i++) rows[i].v[0] = 0;
	for (; rep < (unsigned)reps; rep++) one_round();
	printf("[");
	for (struct row *r = rows; r < rows + nrows; r++) {     /* W1 is not W10a; W5 is W5a to W5d */
		size_t k = strlen(only);
		if (strncmp(r->name, only, k) || (k && (unsigned)(r->name[k] - '0') < 10)) continue;
		qsort(r->v, reps, sizeof *r->v, by_value);
		double median = (r->v[reps / 2] + r->v[(reps - 1) / 2]) / 2;
		printf("%s\n{\"name\":\"%s\",\"unit\":\"%s\",\"nsPerOp\":%.4f,\"min\":%.4f,\"max\":%.4f,\"opsPerSec\":%.0f}",
		       comma, r->name, r->unit, median, r->v[0], r->v[reps - 1], 1e9 / median);
		comma = ",";
	}
	printf("\n]\n");
	return 0;
}

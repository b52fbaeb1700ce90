// Focal losses and their gradients on a CPU: each logit is read once and its gradient written once.
//
// Compiled by `_build.py`, called by `_cpp.py`. Numbers are computed in float32 and summed in float64, in an order that does not
// depend on the threads. Loops are written so that compilers turn them into vector instructions: no calls, no jumps.
//
//   LOGIT_BF16   1: logits and gradients are bfloat16; 0: float32
//   SQUARED      1: the exponents of both sides are 2, as nearly always; 0: they are given at run time

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

using i64 = std::int64_t;

// as `_numerics.finite`
constexpr float BOUND = std::numeric_limits<float>::max() / 1024;
constexpr float LOWEST = -std::numeric_limits<float>::max() / 2;
// elements that are computed together, and whose losses are added in float32 before float64 takes over
constexpr i64 RUN = 512;
// no vector of a processor holds more floats
constexpr i64 VECTOR = 16;
// elements of one piece of work
constexpr i64 PIECE = 1 << 16;

// ---------------------------------------------------------------------------------------------- numbers in memory

struct Bf16 {
    std::uint16_t bits;
};

inline float bits_to_float(std::uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}

inline std::uint32_t float_to_bits(float f) {
    std::uint32_t bits;
    std::memcpy(&bits, &f, 4);
    return bits;
}

// Both are computed, and no jump is left that would keep a compiler from vector instructions.
inline float pick(bool first, float a, float b) {
    const std::uint32_t mask = -std::uint32_t(first);
    return bits_to_float((float_to_bits(a) & mask) | (float_to_bits(b) & ~mask));
}

inline float load(float x) { return x; }
inline float load(Bf16 x) { return bits_to_float(std::uint32_t(x.bits) << 16); }
inline float load(std::uint8_t x) { return float(x); }

inline void store(float &to, float f) { to = f; }
inline void store(Bf16 &to, float f) {  // to the nearest; a NaN made by arithmetic stays one
    to.bits = std::uint16_t((float_to_bits(f) + 0x8000u) >> 16);
}

#if LOGIT_BF16
using Logit = Bf16;
#else
using Logit = float;
#endif

// ------------------------------------------------------------------------------------------------------ functions

// Polynomials are written as trees: a chain of products would keep the processor waiting. Those for bfloat16, whose
// gradients are rounded to 2e-3, are shorter where the error of a sum of losses does not grow by that: where exponents
// are 2, but not in cross-entropy.
#define SHORT (LOGIT_BF16 && SQUARED)

// e^-a for a >= 0, NaN may become anything. Minimax polynomial on [-log(2)/2, log(2)/2], relative error 2e-9 (bfloat16:
// 8e-8) before rounding.
inline float exp_minus(float a) {
    // 1.5 * 2^23 + 64: what is added to it is rounded to a whole number, and the low bits of the sum are that plus 64;
    // the 64 keeps the exponent in its range until a product makes the number subnormal, if it is
    const float nearest = 12582976.0f;
    const float t = nearest - a * 1.44269504f, n = t - nearest;
#if SHORT
    const float r = n * -0.693147181f - a, z = r * r;
    float p = (0.16667576f + 0.041915525f * r) + 0.008297635f * z;
    p = (1.0000001f + 0.9999997f * r) + (0.49998894f + p * r) * z;
#else
    const float r = (n * -0.693145752f - a) + n * -1.42860677e-6f, z = r * r;
    float p = (0.04166823f + 0.00837484f * r) + 0.0013836817f * z;
    p = (0.4999999f + 0.1666642f * r) + p * z;
    p = 1.0f + (r + p * z);
#endif
    return pick(a > 104.0f, 0.0f, bits_to_float(float_to_bits(p) + (float_to_bits(t) << 23)) * 0x1p-64f);
}

// log(1 + e) for e in [0, 1], given q = e / (1 + e). With h = e + q it is asinh(h / 2): an odd function, so that a short
// polynomial in h^2 does; relative error 7e-9 (bfloat16: 7e-8).
inline float log1p_unit(float e, float q) {
    const float h = e + q, z = h * h, zz = z * z;
#if SHORT
    float p = (0.002336857f + -0.00033451247f * z) + (4.5276756e-5f + -3.6436663e-6f * z) * zz;
    return h * ((0.49999997f + -0.020832084f * z) + p * zz);
#else
    float p = (5.4774206e-5f + -7.4152895e-6f * z) + 5.6111674e-7f * zz;
    p = (0.002342612f + -0.0003455202f * z) + p * zz;
    return h * ((0.5f + -0.020833181f * z) + p * zz);
#endif
}

// log s for normal s >= 1; NaN stays
inline float log_above_one(float s) {
    std::uint32_t bits = float_to_bits(s) - 0x3f3504f3u;  // the mantissa becomes one in [sqrt 1/2, sqrt 2)
    float n = float(std::int32_t(bits) >> 23);
    float f = bits_to_float((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
    float d = f / (2.0f + f), z = d * d;
    float p = 0.2215f;  // 2 artanh(d) = 2 d + d^3 (2/3 + 2/5 d^2 + ...)
    p = p * z + 0.28571429f;
    p = p * z + 0.4f;
    p = p * z + 0.66666667f;
    return n * 0.693147181f + (d * z * p + 2.0f * d) + (s - s);
}

struct Focal {
    float value, slope;
};

// What the focal terms of both sides are made of, from e^-|m| and 1 / (1 + e^-|m|).
struct Parts {
    float small, bend, large;
};

inline Parts parts_of(float e, float large) {
    float small = e * large;
#if !LOGIT_BF16
    small += large * ((e - small) - small * e);  // to the last digit: it is raised to powers
#endif
    return {small, log1p_unit(e, small), large};
}

inline Parts parts_at(float distance) {
    const float e = exp_minus(distance);
    return parts_of(e, 1.0f / (1.0f + e));
}

// (1 - p_t)^gamma softplus(m) and its derivative at m = -u, minus the signed logit; `parts` at |m|. From BOUND on the
// value does not grow.
inline Focal focal(float m, Parts parts, float gamma) {
    const float wrong = pick(m >= 0.0f, parts.large, parts.small);
    const float right = pick(m >= 0.0f, parts.small, parts.large);
    const float surprise = pick(m < 0.0f, 0.0f, pick(m > BOUND, BOUND, m)) + parts.bend;  // NaN stays
#if SQUARED
    const float factor = wrong * wrong;
    gamma = 2.0f;
#else
    const float factor = exp_minus(gamma * (pick(m < -BOUND, BOUND, pick(m < 0.0f, -m, 0.0f)) + parts.bend));
#endif
    return {factor * surprise, factor * (gamma * right * surprise + wrong)};
}

// Beyond the bound there is no gradient; NaN counts as beyond.
inline bool beyond(float x) { return !(std::fabs(x) < BOUND); }

inline float clamped(float x) {
    return pick(std::fabs(x) > BOUND, std::copysign(BOUND, x), x);  // NaN stays
}

struct Weights {
    float on, off, gamma, gamma_neg, scale;
};

// Weights of the sides that differ from class to class; null where they do not. `skip`: 1 where a class is absent.
struct Classes {
    const float *on, *off, *skip;
    i64 classes;
};

// Of losses, of elements that count, of targets out of range.
struct Sum {
    double value = 0, count = 0, odd = 0;
};

// -------------------------------------------------------------------------------------------------- sigmoid focal

// Logits next to each other, and what is dear to compute from them. It is computed in loops of its own: with one long
// chain of operations for each element, a processor finds too little to do at a time.
struct Run {
    alignas(64) float x[RUN], e[RUN], large[RUN];

    Parts at(i64 i) const { return parts_of(e[i], large[i]); }
};

// The weights of the elements of a run. `skip`: 1 where one is absent; null where all count.
struct Side {
    const float *on, *off, *skip;
};

// Finds them.
class Sides {
    std::vector<float> on, off, skip;  // of the classes, and again from the first on, for as long as a run
    i64 classes, absent;

   public:
    struct Room {
        alignas(64) float on[RUN], off[RUN], skip[RUN];
    };

    Sides(const Weights &w, const Classes &c) : classes(c.on ? c.classes : 1), absent(0) {
        const auto repeated = [&](const float *from, float otherwise) {
            std::vector<float> v(classes + RUN, otherwise);
            for (i64 i = 0; from && i < i64(v.size()); ++i) v[i] = from[i % classes];
            return v;
        };
        on = repeated(c.on, w.on), off = repeated(c.off, w.off);
        if (c.skip) skip = repeated(c.skip, 0.0f), absent = std::count(c.skip, c.skip + classes, 1.0f);
    }

    // How many of k classes count.
    i64 present(i64 k) const { return k - absent; }

    bool skips(i64 c) const { return absent && skip[c % classes] != 0; }

    // Of a class, for runs of up to n positions.
    Side of(i64 c, i64 n, Room &room) const {
        if (classes == 1) return {on.data(), off.data(), nullptr};
        std::fill_n(room.on, std::min(n, RUN), on[c]);
        std::fill_n(room.off, std::min(n, RUN), off[c]);
        return {room.on, room.off, nullptr};
    }

    // Of the n elements from `at` on in logits (outer, classes, inner).
    Side from(i64 at, i64 n, i64 inner, Room &room) const {
        const float *skipped = absent ? skip.data() : nullptr;
        i64 c = at / inner % classes;
        if (inner == 1 || classes == 1) return {on.data() + c, off.data() + c, skipped ? skipped + c : nullptr};
        for (i64 i = 0, m, left = inner - at % inner; i < n; i += m, left = inner, c = c + 1 == classes ? 0 : c + 1) {
            m = std::min(n - i, left);
            std::fill_n(room.on + i, m, on[c]);
            std::fill_n(room.off + i, m, off[c]);
            if (skipped) std::fill_n(room.skip + i, m, skipped[c]);
        }
        return {room.on, room.off, skipped ? room.skip : nullptr};
    }
};

// Asks for a run before it is needed: the loops are too short for the processor to see it coming.
template <typename T>
inline void expect(const T *next) {
    for (i64 i = 0; i < RUN; i += 64 / sizeof(T)) __builtin_prefetch(next + i);
}

inline i64 whole_vectors(i64 n) { return (n + VECTOR - 1) / VECTOR * VECTOR; }

// Reads n logits, filled up to whole vectors with some that are no loss as background, as absent ones become.
inline void read(const Logit *x, i64 n, const float *skip, Run &run) {
    const i64 whole = whole_vectors(n);
    const float nowhere = -std::numeric_limits<float>::infinity();
    expect(x + RUN);
#pragma omp simd
    for (i64 i = 0; i < n; ++i) run.x[i] = load(x[i]);
    if (skip)
        for (i64 i = 0; i < n; ++i) run.x[i] = pick(skip[i] != 0, nowhere, run.x[i]);
    for (i64 i = n; i < whole; ++i) run.x[i] = nowhere;
#pragma omp simd
    for (i64 i = 0; i < whole; ++i) {
        run.e[i] = exp_minus(std::fabs(run.x[i]));
        run.large[i] = 1.0f / (1.0f + run.e[i]);
    }
}

// Elements without a target. side(from, n): the weights of n of them.
template <bool GRADIENT, typename SideOf>
double background(const Logit *x, Logit *g, i64 n, const Weights &w, const SideOf &side) {
    const float scale = w.scale, gamma = w.gamma_neg;
    Run run;
    Logit spare[RUN];
    double total = 0;
    for (i64 from = 0; from < n; from += RUN) {
        const i64 length = std::min(n - from, RUN), whole = whole_vectors(length);
        const Side s = side(from, whole);
        read(x + from, length, s.skip, run);
        const float *off = s.off;
        Logit *to = whole > length ? spare : g + from;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (i64 i = 0; i < whole; ++i) {
            const float m = run.x[i];
            const Focal f = focal(m, run.at(i), gamma);
            sum += off[i] * f.value;
            if (GRADIENT) store(to[i], pick(m < BOUND, f.slope * (off[i] * scale), 0.0f));
        }
        if (GRADIENT && whole > length) std::memcpy(static_cast<void *>(g + from), spare, length * sizeof(Logit));
        total += sum;
    }
    return total;
}

// Elements of which `label[i]` says who they are: those equal to `own` are positive.
template <bool GRADIENT, typename SideOf>
double labelled(const Logit *x, Logit *g, const std::int32_t *label, i64 n, std::int32_t own, std::int32_t ignore,
                const Weights &w, const SideOf &side) {
    Run run;
    double total = 0;
    for (i64 from = 0; from < n; from += RUN) {
        const i64 length = std::min(n - from, RUN);
        const Side s = side(from, length);
        read(x + from, length, s.skip, run);
        const float *on = s.on, *off = s.off;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (i64 i = 0; i < length; ++i) {
            const bool hot = label[from + i] == own, absent = label[from + i] == ignore;
            const float m = pick(hot, -run.x[i], run.x[i]);
            const Focal f = focal(m, run.at(i), pick(hot, w.gamma, w.gamma_neg));
            const float by = pick(hot, on[i], off[i]);
            sum += pick(absent, 0.0f, by * f.value);
            if (GRADIENT) store(g[from + i], pick(!absent & (m < BOUND), f.slope * pick(hot, -by, by) * w.scale, 0.0f));
        }
        total += sum;
    }
    return total;
}

// Elements of (outer, classes, inner), the first of them at the position `at`.
template <bool GRADIENT, typename Target>
Sum dense(const Logit *x, const Target *t, Logit *g, i64 at, i64 n, i64 inner, float ignore, const Weights &w,
          const Sides &sides) {
    Run run;
    Sides::Room room;
    Sum total;
    for (i64 from = 0; from < n; from += RUN) {
        const i64 length = std::min(n - from, RUN);
        const Side s = sides.from(at + from, whole_vectors(length), inner, room);
        expect(t + from + RUN);
        int other = 0;
#pragma omp simd reduction(| : other)
        for (i64 i = from; i < from + length; ++i) other |= load(t[i]) != 0.0f;
        if (s.skip)
            for (i64 i = 0; i < length; ++i) total.count -= s.skip[i];
        if (!other && ignore != 0.0f) {
            total.value += background<GRADIENT>(x + from, g + from, length, w, [&](i64, i64) { return s; });
            total.count += double(length);
            continue;
        }
        read(x + from, length, s.skip, run);
        float odd = 0;
#pragma omp simd reduction(+ : odd)
        for (i64 i = from; i < from + length; ++i) {
            const float truth = load(t[i]);
            odd += pick((truth == ignore) | ((truth >= 0.0f) & (truth <= 1.0f)), 0.0f, 1.0f);
        }
        const float *by_on = s.on, *by_off = s.off;
        float sum = 0, missing = 0;
#pragma omp simd reduction(+ : sum, missing)
        for (i64 i = 0; i < length; ++i) {
            const float truth = load(t[from + i]), m = run.x[i];
            const bool absent = truth == ignore;
            // subtle: parts kept for both would stay in memory, and the loop would not become vector instructions
            const Focal plus = focal(-m, run.at(i), w.gamma), minus = focal(m, run.at(i), w.gamma_neg);
            const float on = truth * by_on[i], off = (1.0f - truth) * by_off[i];
            sum += pick(absent, 0.0f, on * plus.value + off * minus.value);
            missing += pick(absent, 1.0f, 0.0f);
            const float slope = (off * minus.slope - on * plus.slope) * w.scale;
            if (GRADIENT) store(g[from + i], pick(absent | beyond(m), 0.0f, slope));
        }
        if (s.skip)  // not twice
            for (i64 i = 0; i < length; ++i) missing -= pick(load(t[from + i]) == ignore, s.skip[i], 0.0f);
        total.value += sum;
        total.count += double(length) - missing;
        total.odd += odd;
    }
    return total;
}

// Integers of any width as int32; what int32 cannot hold becomes the largest, which is no class.
void read_labels(const void *labels, int kind, i64 from, i64 n, std::int32_t *out) {
    const auto narrow = [](i64 v) {
        const i64 most = std::numeric_limits<std::int32_t>::max();
        return std::int32_t(v > most || v < -most ? most : v);
    };
    switch (kind) {
        case 0: std::copy_n(static_cast<const std::uint8_t *>(labels) + from, n, out); break;
        case 1: std::copy_n(static_cast<const std::int8_t *>(labels) + from, n, out); break;
        case 2: std::copy_n(static_cast<const std::int16_t *>(labels) + from, n, out); break;
        case 4: std::copy_n(static_cast<const std::int32_t *>(labels) + from, n, out); break;
        default: {
            const i64 *wide = static_cast<const i64 *>(labels) + from;
            std::transform(wide, wide + n, out, narrow);
        }
    }
}

// Logits (outer, classes, inner) and labels (outer, inner); one tensor of several.
struct Level {
    const Logit *x;
    const void *labels;
    Logit *g;
    i64 outer, classes, inner;
};

// Whether slices are computed as they are: planes would be too short for vectors.
inline bool by_slice(const Level &l) { return l.inner < 2 * VECTOR || l.classes * l.inner <= RUN; }

// A part of a level: some classes of one slice and positions in it; or whole slices, or rows.
struct Piece {
    const Level *level;
    i64 slice, first, last, from, to;
};

// What labels of one slice are, from a position on: as int32, whether they hold each class, and whether some do not count.
struct Labels {
    i64 from = 0;
    std::vector<std::int32_t> label;
    std::vector<char> hit;
    bool absent = false;
};

Labels look_at(const Level &l, i64 slice, i64 from, i64 to, int kind, std::int32_t ignore) {
    Labels found{from, std::vector<std::int32_t>(to - from), std::vector<char>(l.classes, 0)};
    read_labels(l.labels, kind, slice * l.inner + from, to - from, found.label.data());
    for (const std::int32_t y : found.label) {
        if (y == ignore) found.absent = true;
        else if (y >= 0 && y < l.classes) found.hit[y] = 1;
    }
    return found;
}

// What labels say before any logit is read.
Sum tally(const std::int32_t *label, i64 n, i64 classes, i64 present, std::int32_t ignore) {
    std::int32_t absent = 0, odd = 0;
#pragma omp simd reduction(+ : absent, odd)
    for (i64 i = 0; i < n; ++i) {
        const bool none = label[i] == ignore;
        absent += none;
        odd += (!none) & ((label[i] < -1) | (label[i] >= classes));
    }
    return {0, double((n - absent) * present), double(odd)};
}

// The positions [from, to) of some classes of one slice, which lie `inner` apart.
template <bool GRADIENT>
Sum planes(const Piece &p, std::int32_t ignore, const Labels &labels, const Weights &w, const Sides &sides) {
    const Level &l = *p.level;
    const i64 n = p.to - p.from;
    const std::int32_t *label = labels.label.data() + (p.from - labels.from);
    Sides::Room room;
    Sum total;
    if (p.first == 0) total = tally(label, n, l.classes, sides.present(l.classes), ignore);
    for (i64 c = p.first; c < p.last; ++c) {
        const i64 at = (p.slice * l.classes + c) * l.inner + p.from;
        const Logit *x = l.x + at;
        Logit *g = l.g + at;
        if (sides.skips(c)) {
            if (GRADIENT) std::memset(static_cast<void *>(g), 0, n * sizeof(Logit));
            continue;
        }
        const Side s = sides.of(c, whole_vectors(n), room);
        const auto side = [&](i64, i64) { return s; };
        total.value += labels.hit[c] || labels.absent
                           ? labelled<GRADIENT>(x, g, label, n, std::int32_t(c), ignore, w, side)
                           : background<GRADIENT>(x, g, n, w, side);
    }
    return total;
}

// The slices [from, to), each small or of one position.
template <bool GRADIENT>
Sum slices(const Level &l, i64 from, i64 to, int kind, std::int32_t ignore, const Weights &w, const Sides &sides) {
    enum { OFF, ON, ABSENT };
    const i64 k = l.classes, inner = l.inner, size = k * inner, most = std::max<i64>(1, RUN / size);
    std::vector<std::int32_t> label((to - from) * inner), mark(most * size);
    read_labels(l.labels, kind, from * inner, (to - from) * inner, label.data());
    const auto is_background = [&](i64 slice) {
        const std::int32_t *first = label.data() + (slice - from) * inner;
        return std::all_of(first, first + inner, [&](std::int32_t y) { return y != ignore && (y < 0 || y >= k); });
    };
    Sides::Room room;
    Sum total = tally(label.data(), (to - from) * inner, k, sides.present(k), ignore);
    for (i64 slice = from; slice < to;) {
        i64 end = slice;  // slices of background are one run of memory
        while (end < to && is_background(end)) ++end;
        const Logit *x = l.x + slice * size;
        Logit *g = l.g + slice * size;
        const auto side = [&](i64 i, i64 n) { return sides.from(slice * size + i, n, inner, room); };
        if (end - slice >= most || end == to) {
            total.value += background<GRADIENT>(x, g, (end - slice) * size, w, side);
        } else {
            end = std::min(to, slice + most);
            std::fill(mark.begin(), mark.end(), OFF);
            for (i64 at = 0; at < (end - slice) * inner; ++at) {
                const std::int32_t y = label[(slice - from) * inner + at];
                std::int32_t *own = mark.data() + at / inner * size + at % inner;
                if (y == ignore)
                    for (i64 c = 0; c < k; ++c) own[c * inner] = ABSENT;
                else if (y >= 0 && y < k) own[y * inner] = ON;
            }
            total.value += labelled<GRADIENT>(x, g, mark.data(), (end - slice) * size, ON, ABSENT, w, side);
        }
        slice = end;
    }
    return total;
}

// -------------------------------------------------------------------------------------------------- softmax focal

constexpr int LANES = 32;

// What changes rows; null where it does not.
struct Changes {
    const float *shift;   // added to the logits, for each class
    const float *factor;  // of the loss, for each class that may be the label
    const float *weight;  // of the loss, for each row; a row of weight 0 is absent
};

// The label of a row, and what its loss is multiplied with.
struct Own {
    std::int32_t label;
    float by;
};

inline Own own_of(const Changes &c, i64 row, std::int32_t y, i64 classes, std::int32_t ignore) {
    const float weight = c.weight ? c.weight[row] : 1.0f;
    if (y < 0 || y >= classes || weight == 0) return {ignore, 0.0f};
    return {y, weight * (c.factor ? c.factor[y] : 1.0f)};
}

// Focal loss of the signed logit of a label, and its derivative.
inline Focal at_label(float u, float gamma) {
    const Focal f = focal(-u, parts_at(std::fabs(u)), gamma);
    return {f.value, pick(beyond(u), 0.0f, -f.slope)};
}

// LANES rows at once: `tile` is (classes, LANES) and is overwritten with the gradient.
template <bool GRADIENT>
double tile_of_rows(float *tile, const std::int32_t *label, const float *by, i64 classes, std::int32_t ignore,
                    const Weights &w) {
    float mine[LANES] = {}, top[LANES], sum[LANES] = {}, share[LANES], slope[LANES], value[LANES];
    std::fill_n(top, LANES, LOWEST);
    for (std::int32_t k = 0; k < classes; ++k) {
        const float *x = tile + k * LANES;
#pragma omp simd
        for (int i = 0; i < LANES; ++i) {
            const bool own = label[i] == k;
            const float v = pick(own, LOWEST, clamped(x[i]));
            mine[i] = pick(own, x[i], mine[i]);
            top[i] = std::max(top[i], v);
        }
    }
    for (std::int32_t from = 0; from < classes; from += LANES) {  // sums of sums lose fewer digits
        float part[LANES] = {};
        for (std::int32_t k = from; k < classes && k < from + LANES; ++k) {
            float *x = tile + k * LANES;
#pragma omp simd
            for (int i = 0; i < LANES; ++i) {
                const float v = pick(label[i] == k, LOWEST, clamped(x[i]));
                const float e = exp_minus(top[i] - v);
                part[i] += e + (v - v);  // NaN stays
                if (GRADIENT) x[i] = pick(beyond(x[i]), 0.0f, e);
            }
        }
        for (int i = 0; i < LANES; ++i) sum[i] += part[i];
    }
    double total = 0;
#pragma omp simd
    for (int i = 0; i < LANES; ++i) {
        const Focal f = at_label(mine[i] - top[i] - log_above_one(sum[i]), w.gamma);
        const bool absent = label[i] == ignore;
        value[i] = pick(absent, 0.0f, f.value * by[i]);
        slope[i] = pick(absent, 0.0f, f.slope * (by[i] * w.scale));
        share[i] = -slope[i] / sum[i];
    }
    for (int i = 0; i < LANES; ++i) total += value[i];
    if (GRADIENT)
        for (std::int32_t k = 0; k < classes; ++k) {
            float *x = tile + k * LANES;
#pragma omp simd
            for (int i = 0; i < LANES; ++i) {
                const float g = pick(label[i] == k, slope[i], share[i] * x[i]);
                x[i] = pick(label[i] == ignore, 0.0f, g);
            }
        }
    return total;
}

// One long row whose classes lie side by side; `e` is room for them.
template <bool GRADIENT>
double long_row(const Logit *x, const float *shift, Logit *g, float *e, Own own, i64 classes, std::int32_t ignore,
                const Weights &w) {
    const std::int32_t y = own.label;
    if (y == ignore) {
        if (GRADIENT) std::memset(static_cast<void *>(g), 0, classes * sizeof(Logit));
        return 0;
    }
    float top = LOWEST;
#pragma omp simd reduction(max : top)
    for (i64 k = 0; k < classes; ++k) {
        const float v = pick(k == y, LOWEST, clamped(load(x[k]) + shift[k]));
        top = std::max(top, v);
    }
    double sum = 0;
    for (i64 from = 0; from < classes; from += RUN) {
        const i64 to = std::min(classes, from + RUN);
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (i64 k = from; k < to; ++k) {
            const float raw = load(x[k]) + shift[k];
            const float v = pick(k == y, LOWEST, clamped(raw)), share = exp_minus(top - v);
            part += share + (v - v);  // NaN stays
            e[k] = pick(beyond(raw), 0.0f, share);
        }
        sum += part;
    }
    const Focal f = at_label(float(double(load(x[y]) + shift[y]) - top - std::log(sum)), w.gamma);
    if (GRADIENT) {
        const float slope = f.slope * (own.by * w.scale), share = float(-slope / sum);
#pragma omp simd
        for (i64 k = 0; k < classes; ++k) store(g[k], share * e[k]);
        store(g[y], slope);
    }
    return double(f.value) * own.by;
}

// Whether rows are computed one by one, along their classes.
inline bool lengthwise(const Level &l) { return l.inner == 1 && l.classes > 4 * LANES; }

// The rows [from, to) of logits (outer, classes, inner).
template <bool GRADIENT>
Sum softmax_rows(const Level &l, const Changes &changes, i64 from, i64 to, int kind, std::int32_t ignore,
                 const Weights &w) {
    const i64 k = l.classes;
    const std::vector<float> zeros(changes.shift ? 0 : k, 0.0f);
    const float *shift = changes.shift ? changes.shift : zeros.data();
    std::vector<std::int32_t> label(to - from + LANES, ignore);
    std::vector<float> room(lengthwise(l) ? k : k * LANES, 0.0f);
    read_labels(l.labels, kind, from, to - from, label.data());
    Sum total;
    for (i64 row = from, n = 1; row < to; row += n) {
        const i64 slice = row / l.inner, at = row % l.inner, first = slice * k * l.inner + at;
        const Logit *x = l.x + first;
        Logit *g = l.g + first;
        std::int32_t *y = label.data() + (row - from);
        if (lengthwise(l)) {
            const Own own = own_of(changes, row, *y, k, ignore);
            total.value += long_row<GRADIENT>(x, shift, g, room.data(), own, k, ignore, w);
            continue;
        }
        n = std::min<i64>(LANES, l.inner == 1 ? to - row : std::min(to - row, l.inner - at));
        const auto in_memory_order = [&](const auto &move) {
            if (l.inner == 1)
                for (i64 i = 0; i < n; ++i)
                    for (i64 c = 0; c < k; ++c) move(c * LANES + i, i * k + c);
            else
                for (i64 c = 0; c < k; ++c)
                    for (i64 i = 0; i < n; ++i) move(c * LANES + i, c * l.inner + i);
        };
        std::int32_t own[LANES];
        float by[LANES];
        for (i64 i = 0; i < LANES; ++i) {
            const Own o = i < n ? own_of(changes, row + i, y[i], k, ignore) : Own{ignore, 0.0f};
            own[i] = o.label, by[i] = o.by;
        }
        in_memory_order([&](i64 tile, i64 memory) { room[tile] = load(x[memory]) + shift[tile / LANES]; });
        total.value += tile_of_rows<GRADIENT>(room.data(), own, by, k, ignore, w);
        if (GRADIENT) in_memory_order([&](i64 tile, i64 memory) { store(g[memory], room[tile]); });
    }
    return total;
}

// ---------------------------------------------------------------------------------------------------------- threads

// A gradient in fresh memory costs a page fault per 4 KB, more than its computation: asks for large pages.
void expect_writes(Logit *gradient, i64 elements) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t PAGE = 4096, LARGE = std::uintptr_t(32) << 20;  // what malloc takes fresh from the system
    const std::uintptr_t from = (reinterpret_cast<std::uintptr_t>(gradient) + PAGE - 1) / PAGE * PAGE;
    const std::uintptr_t to = reinterpret_cast<std::uintptr_t>(gradient + elements) / PAGE * PAGE;
    if (to > from + LARGE) madvise(reinterpret_cast<void *>(from), to - from, MADV_HUGEPAGE);
#endif
}

// Threads to work with. `fork` is what OpenMP compiles a parallel region to: on each of them it calls work(data), and it
// waits for all. It is handed in, so that they are the threads that PyTorch has; null: there are none.
struct Team {
    void (*fork)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
    int threads;

    // Calls work(i) for i < n, each by whichever thread is free.
    template <typename Work>
    void share(i64 n, const Work &work) const {
        struct Shared {
            const Work &work;
            i64 n;
            std::atomic<i64> next{0};
        } shared{work, n};
        const auto take = [](void *data) {
            Shared &s = *static_cast<Shared *>(data);
            for (i64 i; (i = s.next.fetch_add(1, std::memory_order_relaxed)) < s.n;) s.work(i);
        };
        if (fork && threads > 1 && n > 1) fork(take, &shared, unsigned(threads), 0);
        else take(&shared);
    }
};

// Adds the sums of work(i) for i < pieces, in their order.
template <typename Work>
void add_up(i64 pieces, Team team, double *out, const Work &work) {
    std::vector<Sum> sums(pieces);
    team.share(pieces, [&](i64 i) { sums[i] = work(i); });
    Sum total;
    for (const Sum &s : sums) total.value += s.value, total.count += s.count, total.odd += s.odd;
    out[0] = total.value;
    out[1] = total.count;
    out[2] = total.odd;
}

// Cuts n into equal parts of about `most`, at multiples of `grain`, and calls each(from, to).
template <typename Each>
void cut(i64 n, i64 most, i64 grain, const Each &each) {
    const i64 parts = std::max<i64>(1, n / std::max<i64>(most, 1));
    const auto edge = [&](i64 p) { return p == parts ? n : n * p / parts / grain * grain; };
    for (i64 p = 0; p < parts; ++p)
        if (edge(p) < edge(p + 1)) each(edge(p), edge(p + 1));
}

// n rows or slices of some elements each, in pieces of about PIECE elements.
std::vector<Piece> cut_rows(const Level &l, i64 n, i64 elements, i64 grain) {
    std::vector<Piece> pieces;
    cut(n, PIECE / std::max<i64>(elements, 1), grain,
        [&](i64 from, i64 to) { pieces.push_back({&l, 0, 0, l.classes, from, to}); });
    return pieces;
}

// Whether labels as int32 would take more than a tenth of the memory of the logits: each piece reads its own then.
inline bool few_classes(const Level &l) { return l.classes * i64(sizeof(Logit)) < 10 * i64(sizeof(std::int32_t)); }

// Planes, in pieces of about PIECE elements that lie together in memory; of few classes all.
std::vector<Piece> cut_planes(const Level &l) {
    std::vector<Piece> pieces;
    const i64 classes = few_classes(l) ? l.classes : std::max<i64>(1, PIECE / l.inner);
    const i64 positions = few_classes(l) ? PIECE / std::max<i64>(1, l.classes) : PIECE;
    for (i64 s = 0; s < l.outer; ++s)
        cut(l.classes, classes, 1, [&](i64 first, i64 last) {
            cut(l.inner, positions, RUN, [&](i64 from, i64 to) { pieces.push_back({&l, s, first, last, from, to}); });
        });
    return pieces;
}

template <bool GRADIENT>
void labels_pass(const Level *levels, int count, int kind, std::int32_t ignore, const Weights &w, const Classes &c,
                 Team team, double *out) {
    const Sides sides(w, c);
    std::vector<Piece> pieces;
    for (const Level *l = levels; l < levels + count; ++l) {
        const i64 size = l->classes * l->inner;
        const std::vector<Piece> more = by_slice(*l) ? cut_rows(*l, size ? l->outer : 0, size, 1) : cut_planes(*l);
        pieces.insert(pieces.end(), more.begin(), more.end());
    }
    // the labels of the slice of a piece, for the first piece of every slice
    std::vector<Labels> labels(pieces.size());
    std::vector<i64> first(pieces.size());
    for (i64 i = 0; i < i64(pieces.size()); ++i) {
        const bool same = i && pieces[i].level == pieces[i - 1].level && pieces[i].slice == pieces[i - 1].slice;
        first[i] = same ? first[i - 1] : i;
    }
    team.share(i64(pieces.size()), [&](i64 i) {
        const Level &l = *pieces[i].level;
        if (first[i] == i && !by_slice(l) && !few_classes(l))
            labels[i] = look_at(l, pieces[i].slice, 0, l.inner, kind, ignore);
    });
    add_up(i64(pieces.size()), team, out, [&](i64 i) {
        const Piece &p = pieces[i];
        const Level &l = *p.level;
        if (by_slice(l)) return slices<GRADIENT>(l, p.from, p.to, kind, ignore, w, sides);
        if (!few_classes(l)) return planes<GRADIENT>(p, ignore, labels[first[i]], w, sides);
        return planes<GRADIENT>(p, ignore, look_at(l, p.slice, p.from, p.to, kind, ignore), w, sides);
    });
}

template <bool GRADIENT, typename Target>
void dense_pass(const Logit *x, const void *t, Logit *g, i64 n, i64 inner, float ignore, const Weights &w,
                const Classes &c, Team team, double *out) {
    const Sides sides(w, c);
    const Target *target = static_cast<const Target *>(t);
    add_up((n + PIECE - 1) / PIECE, team, out, [&](i64 i) {
        const i64 from = i * PIECE, length = std::min(PIECE, n - from);
        return dense<GRADIENT>(x + from, target + from, g + from, from, length, inner, ignore, w, sides);
    });
}

template <bool GRADIENT>
void softmax_pass(const Level &l, const Changes &c, int kind, std::int32_t ignore, const Weights &w, Team team,
                  double *out) {
    const std::vector<Piece> pieces = cut_rows(l, l.outer * l.inner, l.classes, lengthwise(l) ? 1 : LANES);
    add_up(i64(pieces.size()), team, out,
           [&](i64 i) { return softmax_rows<GRADIENT>(l, c, pieces[i].from, pieces[i].to, kind, ignore, w); });
}

}  // namespace

// `out` takes a `Sum`. `gradient`: whether to write any. `kind` of labels: bytes of their integers, 0 for uint8.
extern "C" {

void sigmoid_focal_labels(const Level *levels, int count, int kind, std::int32_t ignore, int gradient, const Weights *w,
                          const Classes *c, const Team *team, double *out) {
    if (gradient)
        for (const Level *l = levels; l < levels + count; ++l) expect_writes(l->g, l->outer * l->classes * l->inner);
    (gradient ? labels_pass<true> : labels_pass<false>)(levels, count, kind, ignore, *w, *c, *team, out);
}

// Logits (outer, classes, inner). `kind`: of the targets, 4 float32, 2 bfloat16, 1 bool. An `ignore` of NaN: all count.
void sigmoid_focal_dense(const Logit *x, const void *t, Logit *g, i64 n, i64 inner, int kind, float ignore, int gradient,
                         const Weights *w, const Classes *c, const Team *team, double *out) {
    if (gradient) expect_writes(g, n);
    const auto pass = [&](auto target) {
        using Target = decltype(target);
        const auto run = gradient ? dense_pass<true, Target> : dense_pass<false, Target>;
        run(x, t, g, n, inner, ignore, *w, *c, *team, out);
    };
    if (kind == 4) pass(float{});
    if (kind == 2) pass(Bf16{});
    if (kind == 1) pass(std::uint8_t{});
}

void softmax_focal(const Level *level, const Changes *changes, int kind, std::int32_t ignore, int gradient,
                   const Weights *w, const Team *team, double *out) {
    if (gradient) expect_writes(level->g, level->outer * level->classes * level->inner);
    (gradient ? softmax_pass<true> : softmax_pass<false>)(*level, *changes, kind, ignore, *w, *team, out);
}
}

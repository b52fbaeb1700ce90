// Focal losses and their gradients on a CPU: each logit is read once and its gradient written once.
//
// Compiled and called by `_cpp.py`. Numbers are computed in float32 and summed in float64, in an order that does not
// depend on the threads. Loops are written so that compilers turn them into vector instructions: no calls, no jumps.
//
//   LOGIT_BF16   1: logits and gradients are bfloat16; 0: float32
//   TWICE_GAMMA  twice the exponent, where it is a half up to 4 and the same for both sides; -1: given at run time

#include <algorithm>
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
// numbers added in float32 before float64 takes over
constexpr i64 RUN = 256;
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
inline void store(Bf16 &to, float f) {  // to the nearest, ties to even; a NaN made by arithmetic stays one
    const std::uint32_t bits = float_to_bits(f);
    to.bits = std::uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if LOGIT_BF16
using Logit = Bf16;
#else
using Logit = float;
#endif

// ------------------------------------------------------------------------------------------------------ functions

inline float power_of_two(std::int32_t n) { return bits_to_float(std::uint32_t(n + 127) << 23); }

// Polynomials are written as trees: a chain of products would keep the processor waiting.

// e^-a for a >= 0. Minimax polynomial of degree 6, relative error 2e-9 before rounding.
inline float exp_minus(float a) {
    a = pick(a > 104.0f, 104.0f, a);  // NaN stays
    float n = __builtin_rintf(a * 1.44269504f);
    float r = n * 0.693145752f - a;
    r = n * 1.42860677e-6f + r;
    const float z = r * r;
    float p = (0.04166823f + 0.00837484f * r) + 0.0013836817f * z;
    p = (0.4999999f + 0.1666642f * r) + p * z;
    p = 1.0f + (r + p * z);
    std::int32_t whole = std::int32_t(n), half = whole >> 1;  // in two steps: e^-a may be subnormal
    return p * power_of_two(-half) * power_of_two(half - whole);
}

// log(1 + e) for e in [0, 1]. Minimax polynomial of degree 9 for the quotient by e, relative error 5e-9.
inline float log1p_unit(float e) {
    const float z = e * e, zz = z * z;
    float p = (-0.056959413f + 0.0198514f * e) + -0.003244012f * z;
    p = (-0.15305585f + 0.10603642f * e) + p * z;
    p = ((-0.49999902f + 0.33329964f * e) + (-0.24954133f + 0.19675936f * e) * z) + p * zz;
    return e + p * z;
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

// p ^ (twice / 2)
template <int twice>
inline float power(float p) {
    if constexpr (twice == 0) return 1.0f;
    else if constexpr (twice == 1) return std::sqrt(p);
    else return p * power<twice - 2>(p);
}

struct Focal {
    float value, slope;
};

// What the focal terms of both sides are made of.
struct Parts {
    float e, bend, large;
};

inline Parts parts_at(float distance) {
    const float e = exp_minus(distance);
    return {e, log1p_unit(e), 1.0f / (1.0f + e)};
}

// (1 - p_t)^gamma softplus(m) and its derivative at m = -u, minus the signed logit; `parts` at |m|.
inline Focal focal(float m, Parts parts, float gamma) {
    float small = parts.e * parts.large;
    float wrong = pick(m >= 0.0f, parts.large, small);
    float right = pick(m >= 0.0f, small, parts.large);
    float surprise = pick(m > 0.0f, m, 0.0f) + parts.bend;
#if TWICE_GAMMA >= 0
    float factor = power<TWICE_GAMMA>(wrong);
    gamma = TWICE_GAMMA / 2.0f;
#else
    float factor = exp_minus(gamma * (pick(m < 0.0f, -m, 0.0f) + parts.bend));
#endif
    return {factor * surprise, factor * (gamma * right * surprise + wrong)};
}

// Beyond the clamp there is no gradient; NaN counts as beyond.
inline bool beyond(float x) { return !(std::fabs(x) < BOUND); }

inline float clamped(float x) {
    return pick(std::fabs(x) > BOUND, std::copysign(BOUND, x), x);  // NaN stays
}

struct Weights {
    float on, off, gamma, gamma_neg, scale;
};

struct Sum {
    double value = 0, count = 0;
};

// -------------------------------------------------------------------------------------------------- sigmoid focal

// Elements without a target.
template <bool GRADIENT>
double background(const Logit *x, Logit *g, i64 n, const Weights &w) {
    const float by = w.off * w.scale, gamma = w.gamma_neg;
    double total = 0;
    for (i64 from = 0; from < n; from += RUN) {
        const i64 to = std::min(n, from + RUN);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (i64 i = from; i < to; ++i) {
            const float raw = load(x[i]), m = clamped(raw);
            const Focal f = focal(m, parts_at(std::fabs(m)), gamma);
            sum += f.value;
            if (GRADIENT) store(g[i], pick(beyond(raw), 0.0f, f.slope * by));
        }
        total += sum;
    }
    return total * w.off;
}

// Elements of which `label[i]` says who they are: those equal to `own` are positive.
template <bool GRADIENT>
double labelled(const Logit *x, Logit *g, const std::int32_t *label, i64 n, std::int32_t own, std::int32_t ignore,
                const Weights &w) {
    double total = 0;
    for (i64 from = 0; from < n; from += RUN) {
        const i64 to = std::min(n, from + RUN);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (i64 i = from; i < to; ++i) {
            const bool hot = label[i] == own, absent = label[i] == ignore;
            const float raw = load(x[i]), m = clamped(pick(hot, -raw, raw));
            const Focal f = focal(m, parts_at(std::fabs(m)), pick(hot, w.gamma, w.gamma_neg));
            sum += pick(absent, 0.0f, pick(hot, w.on, w.off) * f.value);
            const float by = pick(hot, -w.on * w.scale, w.off * w.scale);
            if (GRADIENT) store(g[i], pick(absent | beyond(raw), 0.0f, f.slope * by));
        }
        total += sum;
    }
    return total;
}

template <bool GRADIENT, typename Target>
Sum dense(const Logit *x, const Target *t, Logit *g, i64 n, float ignore, const Weights &w) {
    Sum total;
    for (i64 from = 0; from < n; from += RUN) {
        const i64 to = std::min(n, from + RUN);
        int other = 0;
#pragma omp simd reduction(| : other)
        for (i64 i = from; i < to; ++i) other |= load(t[i]) != 0.0f;
        if (!other && ignore != 0.0f) {
            total.value += background<GRADIENT>(x + from, g + from, to - from, w);
            total.count += double(to - from);
            continue;
        }
        float sum = 0, count = 0;
#pragma omp simd reduction(+ : sum, count)
        for (i64 i = from; i < to; ++i) {
            const float truth = load(t[i]), raw = load(x[i]), m = clamped(raw);
            const bool absent = truth == ignore;
            const Parts parts = parts_at(std::fabs(m));
            const Focal plus = focal(-m, parts, w.gamma), minus = focal(m, parts, w.gamma_neg);
            const float on = truth * w.on, off = (1.0f - truth) * w.off;
            sum += pick(absent, 0.0f, on * plus.value + off * minus.value);
            count += pick(absent, 0.0f, 1.0f);
            const float slope = (off * minus.slope - on * plus.slope) * w.scale;
            if (GRADIENT) store(g[i], pick(absent | beyond(raw), 0.0f, slope));
        }
        total.value += sum;
        total.count += count;
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

// The positions [from, to) of one slice, where classes lie `inner` apart.
template <bool GRADIENT>
Sum planes(const Level &l, i64 slice, i64 from, i64 to, int kind, std::int32_t ignore, const Weights &w) {
    const i64 n = to - from;
    std::vector<std::int32_t> label(n);
    std::vector<char> hit(l.classes, 0);
    read_labels(l.labels, kind, slice * l.inner + from, n, label.data());
    i64 absent = 0;
    for (const std::int32_t y : label) {
        if (y == ignore) ++absent;
        else if (y >= 0 && y < l.classes) hit[y] = 1;
    }
    Sum total;
    total.count = double((n - absent) * l.classes);
    for (i64 c = 0; c < l.classes; ++c) {
        const i64 at = (slice * l.classes + c) * l.inner + from;
        const Logit *x = l.x + at;
        Logit *g = l.g + at;
        total.value += hit[c] || absent ? labelled<GRADIENT>(x, g, label.data(), n, std::int32_t(c), ignore, w)
                                        : background<GRADIENT>(x, g, n, w);
    }
    return total;
}

// The rows [from, to), whose classes lie side by side.
template <bool GRADIENT>
Sum rows(const Level &l, i64 from, i64 to, int kind, std::int32_t ignore, const Weights &w) {
    const i64 k = l.classes;
    std::vector<std::int32_t> label(to - from);
    read_labels(l.labels, kind, from, to - from, label.data());
    const auto is_background = [&](std::int32_t y) { return y != ignore && (y < 0 || y >= k); };
    Sum total;
    for (i64 row = from; row < to;) {
        i64 end = row;  // rows of background are one run of memory
        while (end < to && is_background(label[end - from])) ++end;
        const i64 n = std::max<i64>(end - row, 1) * k;
        const std::int32_t y = label[row - from];
        const Logit *x = l.x + row * k;
        Logit *g = l.g + row * k;
        if (end > row) {
            total.value += background<GRADIENT>(x, g, n, w);
        } else if (y != ignore) {
            total.value += background<GRADIENT>(x, g, y, w) + labelled<GRADIENT>(x + y, g + y, &y, 1, y, ignore, w) +
                           background<GRADIENT>(x + y + 1, g + y + 1, k - y - 1, w);
        } else if (GRADIENT) {
            std::memset(static_cast<void *>(g), 0, k * sizeof(Logit));
        }
        total.count += end > row || y != ignore ? double(n) : 0.0;
        row += n / k;
    }
    return total;
}

// -------------------------------------------------------------------------------------------------- softmax focal

constexpr int LANES = 32;

// Focal loss of the signed logit of a label, and its derivative.
inline Focal at_label(float u, float gamma) {
    const float m = clamped(-u);
    const Focal f = focal(m, parts_at(std::fabs(m)), gamma);
    return {f.value, pick(beyond(u), 0.0f, -f.slope)};
}

// LANES rows at once: `tile` is (classes, LANES) and is overwritten with the gradient.
template <bool GRADIENT>
double tile_of_rows(float *tile, const std::int32_t *label, i64 classes, std::int32_t ignore, const Weights &w) {
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
                part[i] += e;
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
        value[i] = pick(absent, 0.0f, f.value);
        slope[i] = pick(absent, 0.0f, f.slope * w.scale);
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
double long_row(const Logit *x, Logit *g, float *e, std::int32_t y, i64 classes, std::int32_t ignore,
                const Weights &w) {
    if (y == ignore) {
        if (GRADIENT) std::memset(static_cast<void *>(g), 0, classes * sizeof(Logit));
        return 0;
    }
    float top = LOWEST;
#pragma omp simd reduction(max : top)
    for (i64 k = 0; k < classes; ++k) {
        const float v = pick(k == y, LOWEST, clamped(load(x[k])));
        top = std::max(top, v);
    }
    double sum = 0;
    for (i64 from = 0; from < classes; from += RUN) {
        const i64 to = std::min(classes, from + RUN);
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (i64 k = from; k < to; ++k) {
            const float raw = load(x[k]);
            const float v = exp_minus(top - pick(k == y, LOWEST, clamped(raw)));
            part += v;
            e[k] = pick(beyond(raw), 0.0f, v);
        }
        sum += part;
    }
    const Focal f = at_label(float(double(load(x[y])) - top - std::log(sum)), w.gamma);
    if (GRADIENT) {
        const float slope = f.slope * w.scale, share = float(-slope / sum);
#pragma omp simd
        for (i64 k = 0; k < classes; ++k) store(g[k], share * e[k]);
        store(g[y], slope);
    }
    return f.value;
}

// Whether rows are computed one by one, along their classes.
inline bool lengthwise(const Level &l) { return l.inner == 1 && l.classes > 4 * LANES; }

// The rows [from, to) of logits (outer, classes, inner).
template <bool GRADIENT>
Sum softmax_rows(const Level &l, i64 from, i64 to, int kind, std::int32_t ignore, const Weights &w) {
    const i64 k = l.classes;
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
            total.value += long_row<GRADIENT>(x, g, room.data(), *y, k, ignore, w);
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
        for (i64 i = 0; i < LANES; ++i) own[i] = i < n ? y[i] : ignore;
        in_memory_order([&](i64 tile, i64 memory) { room[tile] = load(x[memory]); });
        total.value += tile_of_rows<GRADIENT>(room.data(), own, k, ignore, w);
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

// Runs work(i) for i < pieces on `threads` threads, and adds the sums in their order.
template <typename Work>
void add_up(i64 pieces, int threads, double *out, const Work &work) {
    std::vector<Sum> sums(pieces);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (i64 i = 0; i < pieces; ++i) sums[i] = work(i);
    Sum total;
    for (const Sum &s : sums) total.value += s.value, total.count += s.count;
    out[0] = total.value;
    out[1] = total.count;
}

struct Piece {
    const Level *level;
    i64 slice, from, to;
};

// Cuts every level into pieces of about PIECE elements, at multiples of `grain` positions: what is left over at the end
// of a vector loop is computed one by one.
std::vector<Piece> cut(const Level *levels, int count, bool by_slice, i64 grain) {
    std::vector<Piece> pieces;
    for (const Level *l = levels; l < levels + count; ++l) {
        const i64 slices = by_slice && l->inner > 1 ? l->outer : 1;
        const i64 length = l->outer * l->inner / std::max<i64>(slices, 1);
        const i64 parts = std::max<i64>(1, length * l->classes / PIECE);
        const auto edge = [&](i64 p) { return p == parts ? length : length * p / parts / grain * grain; };
        for (i64 s = 0; s < slices; ++s)
            for (i64 p = 0; p < parts; ++p) pieces.push_back({l, s, edge(p), edge(p + 1)});
    }
    return pieces;
}

template <bool GRADIENT>
void labels_pass(const Level *levels, int count, int kind, std::int32_t ignore, const Weights &w, int threads,
                 double *out) {
    const std::vector<Piece> pieces = cut(levels, count, true, RUN);
    add_up(i64(pieces.size()), threads, out, [&](i64 i) {
        const Piece &p = pieces[i];
        return p.level->inner > 1 ? planes<GRADIENT>(*p.level, p.slice, p.from, p.to, kind, ignore, w)
                                  : rows<GRADIENT>(*p.level, p.from, p.to, kind, ignore, w);
    });
}

template <bool GRADIENT, typename Target>
void dense_pass(const Logit *x, const void *t, Logit *g, i64 n, float ignore, const Weights &w, int threads,
                double *out) {
    const Target *target = static_cast<const Target *>(t);
    add_up((n + PIECE - 1) / PIECE, threads, out, [&](i64 i) {
        const i64 from = i * PIECE, length = std::min(PIECE, n - from);
        return dense<GRADIENT>(x + from, target + from, g + from, length, ignore, w);
    });
}

template <bool GRADIENT>
void softmax_pass(const Level &l, int kind, std::int32_t ignore, const Weights &w, int threads, double *out) {
    const std::vector<Piece> pieces = cut(&l, 1, false, lengthwise(l) ? 1 : LANES);
    add_up(i64(pieces.size()), threads, out,
           [&](i64 i) { return softmax_rows<GRADIENT>(l, pieces[i].from, pieces[i].to, kind, ignore, w); });
}

}  // namespace

// `out` takes the sum and how many elements count. `gradient`: whether to write any. `kind` of labels: bytes of their
// integers, 0 for uint8.
extern "C" {

void sigmoid_focal_labels(const Level *levels, int count, int kind, std::int32_t ignore, int gradient, const Weights *w,
                          int threads, double *out) {
    if (gradient)
        for (const Level *l = levels; l < levels + count; ++l) expect_writes(l->g, l->outer * l->classes * l->inner);
    (gradient ? labels_pass<true> : labels_pass<false>)(levels, count, kind, ignore, *w, threads, out);
}

// `kind`: of the targets, 4 float32, 2 bfloat16, 1 bool. An `ignore` of NaN: all count.
void sigmoid_focal_dense(const Logit *x, const void *t, Logit *g, i64 n, int kind, float ignore, int gradient,
                         const Weights *w, int threads, double *out) {
    if (gradient) expect_writes(g, n);
    const auto pass = [&](auto target) {
        using Target = decltype(target);
        (gradient ? dense_pass<true, Target> : dense_pass<false, Target>)(x, t, g, n, ignore, *w, threads, out);
    };
    if (kind == 4) pass(float{});
    if (kind == 2) pass(Bf16{});
    if (kind == 1) pass(std::uint8_t{});
}

void softmax_focal(const Level *level, int kind, std::int32_t ignore, int gradient, const Weights *w, int threads,
                   double *out) {
    if (gradient) expect_writes(level->g, level->outer * level->classes * level->inner);
    (gradient ? softmax_pass<true> : softmax_pass<false>)(*level, kind, ignore, *w, threads, out);
}
}

// Focal losses on sigmoids: with dense targets, and with labels.

#pragma once

#include <algorithm>
#include <vector>

#include "labels.h"
#include "term.h"
#include "weights.h"

namespace {

// Logits next to each other, and what is dear to compute from them. It is computed in loops of its own: with one long
// chain of operations for each element, a processor finds too little to do at a time.
struct Run {
    alignas(64) float x[RUN], e[RUN], large[RUN];

    Parts at(i64 i) const { return parts_of(e[i], large[i]); }
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

}  // namespace

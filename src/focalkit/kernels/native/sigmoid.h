// Focal losses on sigmoids: with dense targets, and with labels.

#pragma once

#include <algorithm>
#include <vector>

#include "labels.h"
#include "term.h"
#include "weights.h"

namespace {

// Logits next to each other, and what is expensive to compute from them. It is computed in loops of its own: with one long
// chain of operations for each element, a processor finds too little to do at a time.
struct Step {
    alignas(64) float x[STEP], e[STEP], large[STEP];

    Shared at(i64 i) const { return shared_of(e[i], large[i]); }
};

// Asks for a step's memory before it is needed: the loops are too short for the processor to see it coming.
template <typename T>
inline void expect(const T *next) {
    for (i64 i = 0; i < STEP; i += 64 / sizeof(T)) __builtin_prefetch(next + i);
}

inline i64 whole_vectors(i64 n) { return (n + VECTOR - 1) / VECTOR * VECTOR; }

// Reads n logits, filled up to whole vectors with some that are no loss as background, as absent ones become.
inline void read(const Logit *x, i64 n, const float *absent, Step &step) {
    const i64 whole = whole_vectors(n);
    const float nowhere = -std::numeric_limits<float>::infinity();
    expect(x + STEP);
#pragma omp simd
    for (i64 i = 0; i < n; ++i) step.x[i] = load(x[i]);
    if (absent)
        for (i64 i = 0; i < n; ++i) step.x[i] = pick(absent[i] != 0, nowhere, step.x[i]);
    for (i64 i = n; i < whole; ++i) step.x[i] = nowhere;
#pragma omp simd
    for (i64 i = 0; i < whole; ++i) {
        step.e[i] = exp_minus(std::fabs(step.x[i]));
        step.large[i] = 1.0f / (1.0f + step.e[i]);
    }
}

// Elements without a target. side(from, n): the weights of n of them.
template <bool GRADIENT, typename SideOf>
double background(const Logit *x, Logit *g, i64 n, const Focal &w, const SideOf &side) {
    const float scale = w.scale, gamma = w.gamma_neg;
    Step step;
    Logit spare[STEP];
    double total = 0;
    for (i64 from = 0; from < n; from += STEP) {
        const i64 length = std::min(n - from, STEP), whole = whole_vectors(length);
        const SideWeights s = side(from, whole);
        read(x + from, length, s.absent, step);
        const float *neg_weight = s.neg_weight;
        Logit *to = whole > length ? spare : g + from;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (i64 i = 0; i < whole; ++i) {
            const float m = step.x[i];
            const Term f = focal(m, step.at(i), gamma);
            sum += neg_weight[i] * f.value;
            if (GRADIENT) store(to[i], pick(m < BOUND, f.gradient * (neg_weight[i] * scale), 0.0f));
        }
        if (GRADIENT && whole > length) std::memcpy(static_cast<void *>(g + from), spare, length * sizeof(Logit));
        total += sum;
    }
    return total;
}

// Elements with labels: those whose `label[i]` is `positive` are positive.
template <bool GRADIENT, typename SideOf>
double labelled(const Logit *x, Logit *g, const std::int32_t *label, i64 n, std::int32_t positive, std::int32_t ignore,
                const Focal &w, const SideOf &side) {
    Step step;
    double total = 0;
    for (i64 from = 0; from < n; from += STEP) {
        const i64 length = std::min(n - from, STEP);
        const SideWeights s = side(from, length);
        read(x + from, length, s.absent, step);
        const float *pos_weight = s.pos_weight, *neg_weight = s.neg_weight;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (i64 i = 0; i < length; ++i) {
            const bool is_positive = label[from + i] == positive, absent = label[from + i] == ignore;
            const float m = pick(is_positive, -step.x[i], step.x[i]);
            const Term f = focal(m, step.at(i), pick(is_positive, w.gamma, w.gamma_neg));
            const float by = pick(is_positive, pos_weight[i], neg_weight[i]);
            sum += pick(absent, 0.0f, by * f.value);
            const float gradient = f.gradient * pick(is_positive, -by, by) * w.scale;
            if (GRADIENT) store(g[from + i], pick(!absent & (m < BOUND), gradient, 0.0f));
        }
        total += sum;
    }
    return total;
}

// Elements of (outer, classes, inner), the first of them at the position `at`.
template <bool GRADIENT, typename Target>
Sum dense(const Logit *x, const Target *t, Logit *g, i64 at, i64 n, i64 inner, float ignore, const Focal &w,
          const ClassWeights &weights) {
    Step step;
    ClassWeights::Buffer buffer;
    Sum total;
    for (i64 from = 0; from < n; from += STEP) {
        const i64 length = std::min(n - from, STEP);
        const SideWeights s = weights.from(at + from, whole_vectors(length), inner, buffer);
        expect(t + from + STEP);
        int other = 0;
#pragma omp simd reduction(| : other)
        for (i64 i = from; i < from + length; ++i) other |= load(t[i]) != 0.0f;
        if (s.absent)
            for (i64 i = 0; i < length; ++i) total.count -= s.absent[i];
        if (!other && ignore != 0.0f) {
            total.value += background<GRADIENT>(x + from, g + from, length, w, [&](i64, i64) { return s; });
            total.count += double(length);
            continue;
        }
        read(x + from, length, s.absent, step);
        float out_of_range = 0;
#pragma omp simd reduction(+ : out_of_range)
        for (i64 i = from; i < from + length; ++i) {
            const float target = load(t[i]);
            out_of_range += pick((target == ignore) | ((target >= 0.0f) & (target <= 1.0f)), 0.0f, 1.0f);
        }
        const float *pos_weights = s.pos_weight, *neg_weights = s.neg_weight;
        float sum = 0, missing = 0;
#pragma omp simd reduction(+ : sum, missing)
        for (i64 i = 0; i < length; ++i) {
            const float target = load(t[from + i]), m = step.x[i];
            const bool absent = target == ignore;
            // subtle: parts kept for both would stay in memory, and the loop would not become vector instructions
            const Term plus = focal(-m, step.at(i), w.gamma), minus = focal(m, step.at(i), w.gamma_neg);
            const float pos_weight = target * pos_weights[i], neg_weight = (1.0f - target) * neg_weights[i];
            sum += pick(absent, 0.0f, pos_weight * plus.value + neg_weight * minus.value);
            missing += pick(absent, 1.0f, 0.0f);
            const float gradient = (neg_weight * minus.gradient - pos_weight * plus.gradient) * w.scale;
            if (GRADIENT) store(g[from + i], pick(absent | beyond(m), 0.0f, gradient));
        }
        if (s.absent)  // not twice
            for (i64 i = 0; i < length; ++i) missing -= pick(load(t[from + i]) == ignore, s.absent[i], 0.0f);
        total.value += sum;
        total.count += double(length) - missing;
        total.out_of_range += out_of_range;
    }
    return total;
}

// The positions [from, to) of some classes of one outer index; classes lie `inner` apart.
template <bool GRADIENT>
Sum class_by_class(const Chunk &p, std::int32_t ignore, const Labels &labels, const Focal &w,
                   const ClassWeights &weights) {
    const Level &l = *p.level;
    const i64 n = p.to - p.from;
    const std::int32_t *label = labels.label.data() + (p.from - labels.from);
    ClassWeights::Buffer buffer;
    Sum total;
    if (p.first == 0) total = tally(label, n, l.classes, weights.present(l.classes), ignore);
    for (i64 c = p.first; c < p.last; ++c) {
        const i64 at = (p.outer * l.classes + c) * l.inner + p.from;
        const Logit *x = l.x + at;
        Logit *g = l.g + at;
        if (weights.skips(c)) {
            if (GRADIENT) std::memset(static_cast<void *>(g), 0, n * sizeof(Logit));
            continue;
        }
        const SideWeights s = weights.of(c, whole_vectors(n), buffer);
        const auto side = [&](i64, i64) { return s; };
        total.value += labels.seen[c] || labels.any_ignored
                           ? labelled<GRADIENT>(x, g, label, n, std::int32_t(c), ignore, w, side)
                           : background<GRADIENT>(x, g, n, w, side);
    }
    return total;
}

// The outer indices [from, to), each small or of one position.
template <bool GRADIENT>
Sum whole_outer(const Level &l, i64 from, i64 to, int kind, std::int32_t ignore, const Focal &w,
                const ClassWeights &weights) {
    enum { NEGATIVE, POSITIVE, IGNORED };
    const i64 k = l.classes, inner = l.inner, size = k * inner, most = std::max<i64>(1, STEP / size);
    std::vector<std::int32_t> label((to - from) * inner), mark(most * size);
    read_labels(l.labels, kind, from * inner, (to - from) * inner, label.data());
    const auto is_background = [&](i64 outer) {
        const std::int32_t *first = label.data() + (outer - from) * inner;
        return std::all_of(first, first + inner, [&](std::int32_t y) { return y != ignore && (y < 0 || y >= k); });
    };
    ClassWeights::Buffer buffer;
    Sum total = tally(label.data(), (to - from) * inner, k, weights.present(k), ignore);
    for (i64 outer = from; outer < to;) {
        i64 end = outer;  // outer indices of background are one stretch of memory
        while (end < to && is_background(end)) ++end;
        const Logit *x = l.x + outer * size;
        Logit *g = l.g + outer * size;
        const auto side = [&](i64 i, i64 n) { return weights.from(outer * size + i, n, inner, buffer); };
        if (end - outer >= most || end == to) {
            total.value += background<GRADIENT>(x, g, (end - outer) * size, w, side);
        } else {
            end = std::min(to, outer + most);
            std::fill(mark.begin(), mark.end(), NEGATIVE);
            for (i64 at = 0; at < (end - outer) * inner; ++at) {
                const std::int32_t y = label[(outer - from) * inner + at];
                std::int32_t *marked = mark.data() + at / inner * size + at % inner;
                if (y == ignore)
                    for (i64 c = 0; c < k; ++c) marked[c * inner] = IGNORED;
                else if (y >= 0 && y < k) marked[y * inner] = POSITIVE;
            }
            total.value += labelled<GRADIENT>(x, g, mark.data(), (end - outer) * size, POSITIVE, IGNORED, w, side);
        }
        outer = end;
    }
    return total;
}

}  // namespace

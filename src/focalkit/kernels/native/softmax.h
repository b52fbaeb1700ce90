// Focal losses on a softmax.

#pragma once

#include <algorithm>
#include <vector>

#include "labels.h"
#include "term.h"
#include "weights.h"

namespace {

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

}  // namespace

// Focal losses on a softmax. With u = x_y - logsumexp of the other classes, the signed logit of the label y,
//
//     loss = f(u)      d loss / d x_y = f'(u)      d loss / d x_j = -f'(u) e^(x_j - top) / sum of the others'
//
// The label leaves the sum, so that 1 - p_y stays exact where p_y rounds to 1.

#pragma once

#include <algorithm>
#include <vector>

#include "labels.h"
#include "term.h"
#include "weights.h"

namespace {

constexpr int LANES = 32;

// What changes rows; null where it does not.
struct RowTerms {
    const float *shift;   // added to the logits, for each class
    const float *factor;  // of the loss, for each class that may be the label
    const float *weight;  // of the loss, for each row; a row of weight 0 is absent
};

// The label of a row (`ignore` where the row is not valid), and what its loss is multiplied with.
struct Label {
    std::int32_t label;
    float by;
};

inline Label label_of(const RowTerms &c, i64 row, std::int32_t y, i64 classes, std::int32_t ignore) {
    const float weight = c.weight ? c.weight[row] : 1.0f;
    if (y < 0 || y >= classes || weight == 0) return {ignore, 0.0f};
    return {y, weight * (c.factor ? c.factor[y] : 1.0f)};
}

// Focal loss of the signed logit of a label, and its derivative.
inline Term at_label(float u, float gamma) {
    const Term f = focal(-u, shared_at(std::fabs(u)), gamma);
    return {f.value, pick(beyond(u), 0.0f, -f.gradient)};
}

// Of LANES rows: the sum of the losses, the gradient by the label's logit, and what each exponential of the others is
// multiplied with to be the gradient by its logit.
double at_labels(const float *label_logit, const float *top, const float *sum, const std::int32_t *label,
                 const float *by, std::int32_t ignore, const Focal &w, float *gradient, float *share) {
    float u[LANES], value[LANES];
#pragma omp simd
    for (int i = 0; i < LANES; ++i) u[i] = label_logit[i] - top[i] - log_above_one(sum[i]);
#pragma omp simd
    for (int i = 0; i < LANES; ++i) {
        const Term f = at_label(u[i], w.gamma);
        const bool absent = label[i] == ignore;
        value[i] = pick(absent, 0.0f, f.value * by[i]);
        gradient[i] = pick(absent, 0.0f, f.gradient * (by[i] * w.scale));
        share[i] = -gradient[i] / sum[i];
    }
    double total = 0;
    for (int i = 0; i < LANES; ++i) total += value[i];
    return total;
}

// LANES rows at once: `chunk` is (classes, LANES) and is overwritten with the gradient.
template <bool GRADIENT>
double chunk_of_rows(float *chunk, const std::int32_t *label, const float *by, i64 classes, std::int32_t ignore,
                    const Focal &w) {
    float label_logit[LANES] = {}, top[LANES], sum[LANES] = {}, share[LANES], gradient[LANES];
    std::fill_n(top, LANES, LOWEST);
    // 1. the logit of the label, and the greatest of the others
    for (std::int32_t k = 0; k < classes; ++k) {
        const float *x = chunk + k * LANES;
#pragma omp simd
        for (int i = 0; i < LANES; ++i) {
            const bool is_label = label[i] == k;
            const float v = pick(is_label, LOWEST, clamped(x[i]));
            label_logit[i] = pick(is_label, x[i], label_logit[i]);
            top[i] = std::max(top[i], v);
        }
    }
    // 2. the others' e^(x_j - top), kept in `chunk`, and their sum; sums of sums lose fewer digits
    for (std::int32_t from = 0; from < classes; from += LANES) {
        float part[LANES] = {};
        for (std::int32_t k = from; k < classes && k < from + LANES; ++k) {
            float *x = chunk + k * LANES;
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
    // 3. the signed logits of the labels, the losses there and their derivatives
    const double total = at_labels(label_logit, top, sum, label, by, ignore, w, gradient, share);
    // 4. the gradient takes the place of the exponentials
    if (GRADIENT)
        for (std::int32_t k = 0; k < classes; ++k) {
            float *x = chunk + k * LANES;
#pragma omp simd
            for (int i = 0; i < LANES; ++i) {
                const float g = pick(label[i] == k, gradient[i], share[i] * x[i]);
                x[i] = pick(label[i] == ignore, 0.0f, g);
            }
        }
    return total;
}

// Up to LANES rows of up to STEP classes that lie side by side; `e` is memory for them.
template <bool GRADIENT>
double rows_side_by_side(const Logit *x, const float *shift, Logit *g, float *e, const std::int32_t *label,
                         const float *by, int n, i64 classes, std::int32_t ignore, const Focal &w) {
    float label_logit[LANES] = {}, top[LANES] = {}, sum[LANES], share[LANES], gradient[LANES];
    std::fill_n(sum, LANES, 1.0f);
    for (int i = 0; i < n; ++i) {
        const std::int32_t y = label[i];
        if (y == ignore) continue;
        const Logit *row = x + i * classes;
        float *share_of = e + i * classes;
        // 1. the greatest logit of the other classes
        float most = LOWEST;
#pragma omp simd reduction(max : most)
        for (std::int32_t k = 0; k < classes; ++k) {
            const float v = pick(k == y, LOWEST, clamped(load(row[k]) + shift[k]));
            most = std::max(most, v);
        }
        // 2. their e^(x_j - top), and the sum
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (std::int32_t k = 0; k < classes; ++k) {
            const float raw = load(row[k]) + shift[k];
            const float v = pick(k == y, LOWEST, clamped(raw)), exponential = exp_minus(most - v);
            part += exponential + (v - v);  // NaN stays
            share_of[k] = pick(beyond(raw), 0.0f, exponential);
        }
        label_logit[i] = load(row[y]) + shift[y], top[i] = most, sum[i] = part;
    }
    // 3. the signed logits of the labels, the losses there and their derivatives; rows beyond n are ignored
    const double total = at_labels(label_logit, top, sum, label, by, ignore, w, gradient, share);
    // 4. the gradient
    for (int i = 0; GRADIENT && i < n; ++i) {
        Logit *row = g + i * classes;
        if (label[i] == ignore) {
            std::memset(static_cast<void *>(row), 0, classes * sizeof(Logit));
            continue;
        }
        const float *share_of = e + i * classes, by_sum = share[i];
#pragma omp simd
        for (i64 k = 0; k < classes; ++k) store(row[k], by_sum * share_of[k]);
        store(row[label[i]], gradient[i]);
    }
    return total;
}

// One long row whose classes lie side by side; `e` is memory for them.
template <bool GRADIENT>
double long_row(const Logit *x, const float *shift, Logit *g, float *e, Label label, i64 classes, std::int32_t ignore,
                const Focal &w) {
    const std::int32_t y = label.label;
    if (y == ignore) {
        if (GRADIENT) std::memset(static_cast<void *>(g), 0, classes * sizeof(Logit));
        return 0;
    }
    // 1. the greatest logit of the other classes
    float top = LOWEST;
#pragma omp simd reduction(max : top)
    for (i64 k = 0; k < classes; ++k) {
        const float v = pick(k == y, LOWEST, clamped(load(x[k]) + shift[k]));
        top = std::max(top, v);
    }
    // 2. their e^(x_j - top), and the sum
    double sum = 0;
    for (i64 from = 0; from < classes; from += STEP) {
        const i64 to = std::min(classes, from + STEP);
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
    // 3. the loss at the signed logit, and the gradient
    // subtle: the log of a long double is in every C library, that of a double has a version of its own since 2.29
    const double logsumexp = top + double(std::log(static_cast<long double>(sum)));
    const Term f = at_label(float(double(load(x[y]) + shift[y]) - logsumexp), w.gamma);
    if (GRADIENT) {
        const float gradient = f.gradient * (label.by * w.scale), share = float(-gradient / sum);
#pragma omp simd
        for (i64 k = 0; k < classes; ++k) store(g[k], share * e[k]);
        store(g[y], gradient);
    }
    return double(f.value) * label.by;
}

// Whether rows are computed one by one, along their classes.
inline bool lengthwise(const Level &l) { return l.inner == 1 && l.classes > STEP; }

// Whether rows have enough classes side by side for vectors along them.
inline bool side_by_side(const Level &l) { return l.inner == 1 && l.classes >= 2 * VECTOR; }

// The rows [from, to) of logits (outer, classes, inner).
template <bool GRADIENT>
Sum softmax_rows(const Level &l, const RowTerms &rows, i64 from, i64 to, int kind, std::int32_t ignore,
                 const Focal &w) {
    const i64 k = l.classes;
    const std::vector<float> zeros(rows.shift ? 0 : k, 0.0f);
    const float *shift = rows.shift ? rows.shift : zeros.data();
    std::vector<std::int32_t> label(to - from + LANES, ignore);
    std::vector<float> buffer(lengthwise(l) ? k : k * LANES, 0.0f);
    read_labels(l.labels, kind, from, to - from, label.data());
    Sum total;
    for (i64 i = 0; i < to - from; ++i) {
        const std::int32_t y = label[i];
        total.out_of_range += (y != ignore) & ((y < 0) | (y >= k));
        total.count += (y != ignore) & (!rows.weight || rows.weight[from + i] != 0);
    }
    for (i64 row = from, n = 1; row < to; row += n) {
        const i64 outer = row / l.inner, at = row % l.inner, first = outer * k * l.inner + at;
        const Logit *x = l.x + first;
        Logit *g = l.g + first;
        std::int32_t *y = label.data() + (row - from);
        if (lengthwise(l)) {
            const Label labelled = label_of(rows, row, *y, k, ignore);
            total.value += long_row<GRADIENT>(x, shift, g, buffer.data(), labelled, k, ignore, w);
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
        std::int32_t labels[LANES];
        float by[LANES];
        for (i64 i = 0; i < LANES; ++i) {
            const Label o = i < n ? label_of(rows, row + i, y[i], k, ignore) : Label{ignore, 0.0f};
            labels[i] = o.label, by[i] = o.by;
        }
        if (side_by_side(l)) {
            total.value += rows_side_by_side<GRADIENT>(x, shift, g, buffer.data(), labels, by, n, k, ignore, w);
            continue;
        }
        in_memory_order([&](i64 chunk, i64 memory) { buffer[chunk] = load(x[memory]) + shift[chunk / LANES]; });
        total.value += chunk_of_rows<GRADIENT>(buffer.data(), labels, by, k, ignore, w);
        if (GRADIENT) in_memory_order([&](i64 chunk, i64 memory) { store(g[memory], buffer[chunk]); });
    }
    return total;
}

}  // namespace

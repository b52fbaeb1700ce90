// Labels, and the chunks of work they are read in.

#pragma once

#include <algorithm>
#include <vector>

#include "weights.h"

namespace {

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

// Whether the places of one class are too few for vectors, so that whole outer indices are computed at a time.
inline bool short_inner(const Level &l) { return l.inner < 2 * VECTOR || l.classes * l.inner <= STEP; }

// A part of a level: some classes and positions of one outer index; or whole outer indices, or rows, [from, to).
struct Chunk {
    const Level *level;
    i64 outer, first, last, from, to;
};

// The labels of one outer index from a position on, as int32; which classes they hold; whether some are ignored.
struct Labels {
    i64 from = 0;
    std::vector<std::int32_t> label;
    std::vector<char> seen;
    bool any_ignored = false;
};

Labels look_at(const Level &l, i64 outer, i64 from, i64 to, int kind, std::int32_t ignore) {
    Labels found{from, std::vector<std::int32_t>(to - from), std::vector<char>(l.classes, 0)};
    read_labels(l.labels, kind, outer * l.inner + from, to - from, found.label.data());
    for (const std::int32_t y : found.label) {
        if (y == ignore) found.any_ignored = true;
        else if (y >= 0 && y < l.classes) found.seen[y] = 1;
    }
    return found;
}

// What labels say before any logit is read.
Sum tally(const std::int32_t *label, i64 n, i64 classes, i64 present, std::int32_t ignore) {
    std::int32_t absent = 0, out_of_range = 0;
#pragma omp simd reduction(+ : absent, out_of_range)
    for (i64 i = 0; i < n; ++i) {
        const bool none = label[i] == ignore;
        absent += none;
        out_of_range += (!none) & ((label[i] < -1) | (label[i] >= classes));
    }
    return {0, double((n - absent) * present), double(out_of_range)};
}

}  // namespace

// What losses are weighted with, and their sums.

#pragma once

#include <algorithm>
#include <vector>

#include "numbers.h"

namespace {

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

}  // namespace

// The parameters of a focal loss, its weights class by class, and sums of losses.

#pragma once

#include <algorithm>
#include <vector>

#include "numbers.h"

namespace {

// As `Focal` in operands.py, and what gradients are multiplied with.
struct Focal {
    float pos_weight, neg_weight, gamma, gamma_neg, scale;
};

// Weights that differ from class to class; null where they do not. `absent`: 1 where the weight of a class is 0.
struct Classes {
    const float *pos_weight, *neg_weight, *absent;
    i64 classes;
};

// Of losses, of valid elements, of targets out of range.
struct Sum {
    double value = 0, count = 0, out_of_range = 0;
};

// The weights of some elements. `absent`: 1 where one has weight 0; null where none has.
struct SideWeights {
    const float *pos_weight, *neg_weight, *absent;
};

// Finds them.
class ClassWeights {
    std::vector<float> pos_weight, neg_weight, absent;  // of the classes, repeated for STEP more elements
    i64 classes, num_absent;

   public:
    struct Buffer {
        alignas(64) float pos_weight[STEP], neg_weight[STEP], absent[STEP];
    };

    ClassWeights(const Focal &w, const Classes &c) : classes(c.pos_weight ? c.classes : 1), num_absent(0) {
        const auto repeated = [&](const float *from, float otherwise) {
            std::vector<float> v(classes + STEP, otherwise);
            for (i64 i = 0; from && i < i64(v.size()); ++i) v[i] = from[i % classes];
            return v;
        };
        pos_weight = repeated(c.pos_weight, w.pos_weight), neg_weight = repeated(c.neg_weight, w.neg_weight);
        if (c.absent) absent = repeated(c.absent, 0.0f), num_absent = std::count(c.absent, c.absent + classes, 1.0f);
    }

    // How many of k classes are valid.
    i64 present(i64 k) const { return k - num_absent; }

    bool skips(i64 c) const { return num_absent && absent[c % classes] != 0; }

    // Of a class, for up to n of its positions at a time.
    SideWeights of(i64 c, i64 n, Buffer &buffer) const {
        if (classes == 1) return {pos_weight.data(), neg_weight.data(), nullptr};
        std::fill_n(buffer.pos_weight, std::min(n, STEP), pos_weight[c]);
        std::fill_n(buffer.neg_weight, std::min(n, STEP), neg_weight[c]);
        return {buffer.pos_weight, buffer.neg_weight, nullptr};
    }

    // Of the n elements from `at` on in logits (outer, classes, inner).
    SideWeights from(i64 at, i64 n, i64 inner, Buffer &buffer) const {
        const float *skipped = num_absent ? absent.data() : nullptr;
        i64 c = at / inner % classes;
        if (inner == 1 || classes == 1)
            return {pos_weight.data() + c, neg_weight.data() + c, skipped ? skipped + c : nullptr};
        for (i64 i = 0, m, left = inner - at % inner; i < n; i += m, left = inner, c = c + 1 == classes ? 0 : c + 1) {
            m = std::min(n - i, left);
            std::fill_n(buffer.pos_weight + i, m, pos_weight[c]);
            std::fill_n(buffer.neg_weight + i, m, neg_weight[c]);
            if (skipped) std::fill_n(buffer.absent + i, m, skipped[c]);
        }
        return {buffer.pos_weight, buffer.neg_weight, skipped ? buffer.absent : nullptr};
    }
};

}  // namespace

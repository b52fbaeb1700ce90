// The focal term and its derivative.

#pragma once

#include "numbers.h"

namespace {

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

}  // namespace

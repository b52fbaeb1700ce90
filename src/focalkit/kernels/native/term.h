// The focal term and its derivative.

#pragma once

#include "numbers.h"

namespace {

struct Term {
    float value, gradient;
};

// The functions of which the focal terms of both sides are made, from e^-|m| and 1 / (1 + e^-|m|).
struct Shared {
    float small, log1p_exp, large;
};

inline Shared shared_of(float e, float large) {
    float small = e * large;
#if !LOGIT_BF16
    small += large * ((e - small) - small * e);  // to the last digit: it is raised to powers
#endif
    return {small, log1p_unit(e, small), large};
}

inline Shared shared_at(float distance) {
    const float e = exp_minus(distance);
    return shared_of(e, 1.0f / (1.0f + e));
}

// (1 - p_t)^gamma softplus(m) and its derivative at m = -u, minus the signed logit; `shared` at |m|. From BOUND on the
// value does not grow.
inline Term focal(float m, Shared shared, float gamma) {
    // 1. 1 - p_t = sigmoid(m), p_t = sigmoid(-m), nll = -log p_t = softplus(m)
    const float one_minus_p = pick(m >= 0.0f, shared.large, shared.small);
    const float p = pick(m >= 0.0f, shared.small, shared.large);
    const float nll = pick(m < 0.0f, 0.0f, pick(m > BOUND, BOUND, m)) + shared.log1p_exp;  // NaN stays
    // 2. the modulator (1 - p_t)^gamma
#if SQUARED
    const float factor = one_minus_p * one_minus_p;
    gamma = 2.0f;
#else
    const float factor = exp_minus(gamma * (pick(m < -BOUND, BOUND, pick(m < 0.0f, -m, 0.0f)) + shared.log1p_exp));
#endif
    // 3. the term, and its derivative by m
    return {factor * nll, factor * (gamma * p * nll + one_minus_p)};
}

// Beyond the bound there is no gradient; NaN counts as beyond.
inline bool beyond(float x) { return !(std::fabs(x) < BOUND); }

inline float clamped(float x) {
    return pick(std::fabs(x) > BOUND, std::copysign(BOUND, x), x);  // NaN stays
}

}  // namespace

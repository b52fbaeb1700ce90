// Numbers as they lie in memory, and functions of them that compilers turn into vector instructions.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace {

using i64 = std::int64_t;

// as `_numerics.finite`
constexpr float BOUND = std::numeric_limits<float>::max() / 1024;
constexpr float LOWEST = -std::numeric_limits<float>::max() / 2;
// elements that are computed together, and whose losses are added in float32 before float64 takes over
constexpr i64 STEP = 512;
// no vector of a processor holds more floats
constexpr i64 VECTOR = 16;
// elements of one chunk of work, at most
constexpr i64 CHUNK = 1 << 16;

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
inline void store(Bf16 &to, float f) {  // to the nearest; a NaN made by arithmetic stays one
    to.bits = std::uint16_t((float_to_bits(f) + 0x8000u) >> 16);
}

#if LOGIT_BF16
using Logit = Bf16;
#else
using Logit = float;
#endif

// Polynomials are written as trees: a chain of products would keep the processor waiting. Those for bfloat16, whose
// gradients are rounded to 2e-3, are shorter where the error of a sum of losses does not grow by that: where exponents
// are 2, but not in cross-entropy.
#define SHORT (LOGIT_BF16 && SQUARED)

// e^-a for a >= 0, NaN may become anything. Minimax polynomial on [-log(2)/2, log(2)/2], relative error 2e-9 (bfloat16:
// 8e-8) before rounding.
inline float exp_minus(float a) {
    // 1.5 * 2^23 + 64: what is added to it is rounded to a whole number, and the low bits of the sum are that plus 64;
    // the 64 keeps the exponent in its range until a product makes the number subnormal, if it is
    const float nearest = 12582976.0f;
    const float t = nearest - a * 1.44269504f, n = t - nearest;
#if SHORT
    const float r = n * -0.693147181f - a, z = r * r;
    float p = (0.16667576f + 0.041915525f * r) + 0.008297635f * z;
    p = (1.0000001f + 0.9999997f * r) + (0.49998894f + p * r) * z;
#else
    const float r = (n * -0.693145752f - a) + n * -1.42860677e-6f, z = r * r;
    float p = (0.04166823f + 0.00837484f * r) + 0.0013836817f * z;
    p = (0.4999999f + 0.1666642f * r) + p * z;
    p = 1.0f + (r + p * z);
#endif
    return pick(a > 104.0f, 0.0f, bits_to_float(float_to_bits(p) + (float_to_bits(t) << 23)) * 0x1p-64f);
}

// log(1 + e) for e in [0, 1], given q = e / (1 + e). With h = e + q it is asinh(h / 2): an odd function, so that a
// short polynomial in h^2 does; relative error 7e-9 (bfloat16: 7e-8).
inline float log1p_unit(float e, float q) {
    const float h = e + q, z = h * h, zz = z * z;
#if SHORT
    float p = (0.002336857f + -0.00033451247f * z) + (4.5276756e-5f + -3.6436663e-6f * z) * zz;
    return h * ((0.49999997f + -0.020832084f * z) + p * zz);
#else
    float p = (5.4774206e-5f + -7.4152895e-6f * z) + 5.6111674e-7f * zz;
    p = (0.002342612f + -0.0003455202f * z) + p * zz;
    return h * ((0.5f + -0.020833181f * z) + p * zz);
#endif
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

}  // namespace

// 3x3 convolutions of stride 1 with a quarter of the products (Winograd, 1980; Lavin and Gray, CVPR 2016, F(4x4, 3x3)).
//
// A tile of 4 x 4 outputs hangs on 6 x 6 inputs. Both are transformed so that the convolution becomes, at each of 36
// places, a product of two matrices, tiles by channels and channels by channels. The points of the transforms are 0,
// +-5/8, +-3/2 and infinity: the usual 0, +-1, +-2 lose more digits.
//
// Called by `winograd.py`. Maps are channels_last: (image, row, column, channel). Work comes in bands: some of the rows
// of tiles, counted through all images.

#pragma once

#include <algorithm>
#include <cstdint>

#include "team.h"

namespace {

constexpr float A = 5.f / 8, B = 3.f / 2, A2 = A * A, B2 = B * B;
constexpr int BLOCK = 32;  // channels at a time: a tile of them stays in the nearest cache

struct Map {
    i64 images, height, width, channels;
    i64 rows() const { return (height + 3) / 4; }
    i64 columns() const { return (width + 3) / 4; }
};

typedef float Channels[BLOCK];

// Each of these takes one line of a tile, element i at x[i * step], and writes the transformed one to y[i * to].

void inputs(const Channels *x, int step, Channels *y, int to) {
    for (int c = 0; c < BLOCK; ++c) {
        const float d0 = x[0][c], d1 = x[step][c], d2 = x[2 * step][c], d3 = x[3 * step][c];
        const float d4 = x[4 * step][c], d5 = x[5 * step][c];
        const float ea = d4 - B2 * d2, oa = A * (d3 - B2 * d1), eb = d4 - A2 * d2, ob = B * (d3 - A2 * d1);
        y[0][c] = A2 * B2 * d0 - (A2 + B2) * d2 + d4;
        y[to][c] = ea + oa;
        y[2 * to][c] = ea - oa;
        y[3 * to][c] = eb + ob;
        y[4 * to][c] = eb - ob;
        y[5 * to][c] = A2 * B2 * d1 - (A2 + B2) * d3 + d5;
    }
}

void outputs(const Channels *x, int step, Channels *y, int to) {
    for (int c = 0; c < BLOCK; ++c) {
        const float m1 = x[step][c], m2 = x[2 * step][c], m3 = x[3 * step][c], m4 = x[4 * step][c];
        const float sa = m1 + m2, ta = m1 - m2, sb = m3 + m4, tb = m3 - m4;
        y[0][c] = x[0][c] + sa + sb;
        y[to][c] = A * ta + B * tb;
        y[2 * to][c] = A2 * sa + B2 * sb;
        y[3 * to][c] = A * A2 * ta + B * B2 * tb + x[5 * step][c];
    }
}

// The transposed of `outputs`: gradients of outputs to gradients of products.
void gradients(const Channels *x, int step, Channels *y, int to) {
    for (int c = 0; c < BLOCK; ++c) {
        const float g0 = x[0][c], g1 = x[step][c], g2 = x[2 * step][c], g3 = x[3 * step][c];
        const float ea = g0 + A2 * g2, oa = A * (g1 + A2 * g3), eb = g0 + B2 * g2, ob = B * (g1 + B2 * g3);
        y[0][c] = g0;
        y[to][c] = ea + oa;
        y[2 * to][c] = ea - oa;
        y[3 * to][c] = eb + ob;
        y[4 * to][c] = eb - ob;
        y[5 * to][c] = g3;
    }
}

// Calls each(image, row, column, first channel, channels, tile of the band) of a band's tiles and blocks of channels.
template <typename Each>
void tiles(const Map &m, i64 from, i64 to, const Team &team, const Each &each) {
    team.share(to - from, [&](i64 i) {
        const i64 line = from + i;
        for (i64 column = 0; column < m.columns(); ++column)
            for (i64 c = 0; c < m.channels; c += BLOCK)
                each(line / m.rows(), line % m.rows(), column, c, int(std::min<i64>(BLOCK, m.channels - c)),
                     i * m.columns() + column);
    });
}

// Reads SIDE x SIDE positions from `edge` above and left of the tile, zeros outside the map, transforms both directions.
template <int SIDE, typename Transform>
void into(const float *x, const Map &m, i64 from, i64 to, int edge, float *v, const Team &team,
          const Transform &transform) {
    const i64 band = (to - from) * m.columns();
    tiles(m, from, to, team, [&](i64 image, i64 row, i64 column, i64 first, int channels, i64 t) {
        Channels tile[SIDE * SIDE], half[6 * SIDE], whole[36];
        for (int i = 0; i < SIDE; ++i)
            for (int j = 0; j < SIDE; ++j) {
                const i64 r = 4 * row + i - edge, k = 4 * column + j - edge;
                float *there = tile[i * SIDE + j];
                const bool inside = r >= 0 && r < m.height && k >= 0 && k < m.width;
                const int n = inside ? channels : 0;
                if (inside) std::copy_n(x + ((image * m.height + r) * m.width + k) * m.channels + first, n, there);
                std::fill(there + n, there + BLOCK, 0.f);
            }
        for (int j = 0; j < SIDE; ++j) transform(tile + j, SIDE, half + j, SIDE);
        for (int i = 0; i < 6; ++i) transform(half + i * SIDE, 1, whole + i * 6, 1);
        for (int p = 0; p < 36; ++p) std::copy_n(whole[p], channels, v + (p * band + t) * m.channels + first);
    });
}

// ---- products of matrices

#if defined(__AVX512F__)
constexpr int WIDTH = 16, ROWS = 6, WIDE = 4;  // floats of a vector, and how many vectors of the result are in registers
#elif defined(__AVX2__)
constexpr int WIDTH = 8, ROWS = 4, WIDE = 3;
#else
constexpr int WIDTH = 4, ROWS = 8, WIDE = 3;
#endif
typedef float Vector __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));

// A matrix in memory: element (i, j) is at[i * row + j * column].
struct Matrix {
    const float *at;
    i64 row, column;
};

// rows x (wide * WIDTH) of a b, at `out`, whose rows lie `step` apart; added to what is there, or put there.
template <int rows, int wide>
inline void block(Matrix a, Matrix b, i64 depth, float *out, i64 step, bool add) {
    Vector sum[rows][wide];
    for (int r = 0; r < rows; ++r)
        for (int w = 0; w < wide; ++w) sum[r][w] = add ? *(const Vector *)(out + r * step + w * WIDTH) : Vector{};
    for (i64 d = 0; d < depth; ++d) {
        Vector line[wide];
#pragma GCC unroll 8
        for (int w = 0; w < wide; ++w) line[w] = *(const Vector *)(b.at + d * b.row + w * WIDTH);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
            for (int w = 0; w < wide; ++w) sum[r][w] += a.at[r * a.row + d * a.column] * line[w];
    }
    for (int r = 0; r < rows; ++r)
        for (int w = 0; w < wide; ++w) *(Vector *)(out + r * step + w * WIDTH) = sum[r][w];
}

template <int wide>
void strip(Matrix a, Matrix b, i64 rows, i64 depth, float *out, i64 step, bool add) {
    i64 r = 0;
    const auto from = [&](i64 r) { return Matrix{a.at + r * a.row, a.row, a.column}; };
    for (; r + ROWS <= rows; r += ROWS) block<ROWS, wide>(from(r), b, depth, out + r * step, step, add);
    for (; r < rows; ++r) block<1, wide>(from(r), b, depth, out + r * step, step, add);
}

// a (rows, depth) times b (depth, columns), whose columns lie together; `columns` is a multiple of 16
void product(Matrix a, Matrix b, i64 rows, i64 depth, i64 columns, float *out, bool add) {
    i64 c = 0;
    const auto at = [&](i64 c) { return Matrix{b.at + c, b.row, 1}; };
    for (; c + WIDE * WIDTH <= columns; c += WIDE * WIDTH) strip<WIDE>(a, at(c), rows, depth, out + c, columns, add);
    for (; c < columns; c += WIDTH) strip<1>(a, at(c), rows, depth, out + c, columns, add);
}

}  // namespace

extern "C" {

// x of map m -> v (36, tile of the band, channel)
void winograd_inputs(const float *x, const Map *m, i64 from, i64 to, float *v, const Team *team) {
    into<6>(x, *m, from, to, 1, v, *team, inputs);
}

// g of map m, gradients of outputs -> v (36, tile of the band, channel)
void winograd_gradients(const float *g, const Map *m, i64 from, i64 to, float *v, const Team *team) {
    into<4>(g, *m, from, to, 0, v, *team, gradients);
}

// v (36, tile of the band, channel) -> y of map m, plus the bias of each channel (null: none)
void winograd_outputs(float *y, const Map *m, i64 from, i64 to, const float *v, const float *bias, const Team *team) {
    const i64 band = (to - from) * m->columns();
    tiles(*m, from, to, *team, [&](i64 image, i64 row, i64 column, i64 first, int channels, i64 t) {
        Channels products[36], half[4 * 6], tile[16], shift = {};
        for (int p = 0; p < 36; ++p) {
            std::copy_n(v + (p * band + t) * m->channels + first, channels, products[p]);
            std::fill(products[p] + channels, products[p] + BLOCK, 0.f);
        }
        if (bias) std::copy_n(bias + first, channels, shift);
        for (int j = 0; j < 6; ++j) outputs(products + j, 6, half + j, 6);
        for (int i = 0; i < 4; ++i) outputs(half + i * 6, 1, tile + i * 4, 1);
        for (i64 i = 0; i < std::min<i64>(4, m->height - 4 * row); ++i)
            for (i64 j = 0; j < std::min<i64>(4, m->width - 4 * column); ++j) {
                float *there = y + ((image * m->height + 4 * row + i) * m->width + 4 * column + j) * m->channels + first;
                for (int c = 0; c < channels; ++c) there[c] = tile[i * 4 + j][c] + shift[c];
            }
    });
}

// v (36, tiles, channels) times u (36, channels, outputs) -> m (36, tiles, outputs)
void winograd_products(const float *v, const float *u, i64 tiles, i64 channels, i64 outputs, float *m, const Team *team) {
    constexpr i64 PART = 64;  // tiles: more parts than threads
    const i64 parts = (tiles + PART - 1) / PART;
    team->share(36 * parts, [&](i64 i) {
        const i64 p = i / parts, t = i % parts * PART;
        product({v + (p * tiles + t) * channels, channels, 1}, {u + p * channels * outputs, outputs, 1},
                std::min(PART, tiles - t), channels, outputs, m + (p * tiles + t) * outputs, false);
    });
}

// The same by u: v (36, tiles, channels) transposed times g (36, tiles, outputs), added to u (36, channels, outputs)
void winograd_by_weight(const float *v, const float *g, i64 tiles, i64 channels, i64 outputs, float *u, const Team *team) {
    team->share(36, [&](i64 p) {
        product({v + p * tiles * channels, 1, channels}, {g + p * tiles * outputs, outputs, 1}, channels, tiles, outputs,
                u + p * channels * outputs, true);
    });
}
}

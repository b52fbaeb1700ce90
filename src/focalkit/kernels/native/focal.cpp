// Focal losses and their gradients on a CPU: each logit is read once and its gradient written once.
//
// Compiled by `_build.py`, called by `_cpp.py`. Numbers are computed in float32 and summed in float64, in an order that
// does not depend on the threads. Loops are written so that compilers turn them into vector instructions: no calls, no
// jumps.
//
//   LOGIT_BF16   1: logits and gradients are bfloat16; 0: float32
//   SQUARED      1: the exponents of both sides are 2, as nearly always; 0: they are given at run time

#include "sigmoid.h"
#include "softmax.h"
#include "threads.h"

namespace {

// n rows or slices of some elements each, in pieces of about PIECE elements.
std::vector<Piece> cut_rows(const Level &l, i64 n, i64 elements, i64 grain) {
    std::vector<Piece> pieces;
    cut(n, PIECE / std::max<i64>(elements, 1), grain,
        [&](i64 from, i64 to) { pieces.push_back({&l, 0, 0, l.classes, from, to}); });
    return pieces;
}

// Whether labels as int32 would take more than a tenth of the memory of the logits: each piece reads its own then.
inline bool few_classes(const Level &l) { return l.classes * i64(sizeof(Logit)) < 10 * i64(sizeof(std::int32_t)); }

// Planes, in pieces of about PIECE elements that lie together in memory; of few classes all.
std::vector<Piece> cut_planes(const Level &l) {
    std::vector<Piece> pieces;
    const i64 classes = few_classes(l) ? l.classes : std::max<i64>(1, PIECE / l.inner);
    const i64 positions = few_classes(l) ? PIECE / std::max<i64>(1, l.classes) : PIECE;
    for (i64 s = 0; s < l.outer; ++s)
        cut(l.classes, classes, 1, [&](i64 first, i64 last) {
            cut(l.inner, positions, RUN, [&](i64 from, i64 to) { pieces.push_back({&l, s, first, last, from, to}); });
        });
    return pieces;
}

template <bool GRADIENT>
void labels_pass(const Level *levels, int count, int kind, std::int32_t ignore, const Weights &w, const Classes &c,
                 Team team, double *out) {
    const Sides sides(w, c);
    std::vector<Piece> pieces;
    for (const Level *l = levels; l < levels + count; ++l) {
        const i64 size = l->classes * l->inner;
        const std::vector<Piece> more = by_slice(*l) ? cut_rows(*l, size ? l->outer : 0, size, 1) : cut_planes(*l);
        pieces.insert(pieces.end(), more.begin(), more.end());
    }
    // the labels of the slice of a piece, for the first piece of every slice
    std::vector<Labels> labels(pieces.size());
    std::vector<i64> first(pieces.size());
    for (i64 i = 0; i < i64(pieces.size()); ++i) {
        const bool same = i && pieces[i].level == pieces[i - 1].level && pieces[i].slice == pieces[i - 1].slice;
        first[i] = same ? first[i - 1] : i;
    }
    team.share(i64(pieces.size()), [&](i64 i) {
        const Level &l = *pieces[i].level;
        if (first[i] == i && !by_slice(l) && !few_classes(l))
            labels[i] = look_at(l, pieces[i].slice, 0, l.inner, kind, ignore);
    });
    add_up(i64(pieces.size()), team, out, [&](i64 i) {
        const Piece &p = pieces[i];
        const Level &l = *p.level;
        if (by_slice(l)) return slices<GRADIENT>(l, p.from, p.to, kind, ignore, w, sides);
        if (!few_classes(l)) return planes<GRADIENT>(p, ignore, labels[first[i]], w, sides);
        return planes<GRADIENT>(p, ignore, look_at(l, p.slice, p.from, p.to, kind, ignore), w, sides);
    });
}

template <bool GRADIENT, typename Target>
void dense_pass(const Logit *x, const void *t, Logit *g, i64 n, i64 inner, float ignore, const Weights &w,
                const Classes &c, Team team, double *out) {
    const Sides sides(w, c);
    const Target *target = static_cast<const Target *>(t);
    add_up((n + PIECE - 1) / PIECE, team, out, [&](i64 i) {
        const i64 from = i * PIECE, length = std::min(PIECE, n - from);
        return dense<GRADIENT>(x + from, target + from, g + from, from, length, inner, ignore, w, sides);
    });
}

template <bool GRADIENT>
void softmax_pass(const Level &l, const Changes &c, int kind, std::int32_t ignore, const Weights &w, Team team,
                  double *out) {
    const std::vector<Piece> pieces = cut_rows(l, l.outer * l.inner, l.classes, lengthwise(l) ? 1 : LANES);
    add_up(i64(pieces.size()), team, out,
           [&](i64 i) { return softmax_rows<GRADIENT>(l, c, pieces[i].from, pieces[i].to, kind, ignore, w); });
}

}  // namespace

// `out` takes a `Sum`. `gradient`: whether to write any. `kind` of labels: bytes of their integers, 0 for uint8.
extern "C" {

void sigmoid_focal_labels(const Level *levels, int count, int kind, std::int32_t ignore, int gradient, const Weights *w,
                          const Classes *c, const Team *team, double *out) {
    if (gradient)
        for (const Level *l = levels; l < levels + count; ++l) expect_writes(l->g, l->outer * l->classes * l->inner);
    (gradient ? labels_pass<true> : labels_pass<false>)(levels, count, kind, ignore, *w, *c, *team, out);
}

// Logits (outer, classes, inner). `kind` of targets: 4 float32, 2 bfloat16, 1 bool. An `ignore` of NaN: all count.
void sigmoid_focal_dense(const Logit *x, const void *t, Logit *g, i64 n, i64 inner, int kind, float ignore, int gradient,
                         const Weights *w, const Classes *c, const Team *team, double *out) {
    if (gradient) expect_writes(g, n);
    const auto pass = [&](auto target) {
        using Target = decltype(target);
        const auto run = gradient ? dense_pass<true, Target> : dense_pass<false, Target>;
        run(x, t, g, n, inner, ignore, *w, *c, *team, out);
    };
    if (kind == 4) pass(float{});
    if (kind == 2) pass(Bf16{});
    if (kind == 1) pass(std::uint8_t{});
}

void softmax_focal(const Level *level, const Changes *changes, int kind, std::int32_t ignore, int gradient,
                   const Weights *w, const Team *team, double *out) {
    if (gradient) expect_writes(level->g, level->outer * level->classes * level->inner);
    (gradient ? softmax_pass<true> : softmax_pass<false>)(*level, *changes, kind, ignore, *w, *team, out);
}
}
